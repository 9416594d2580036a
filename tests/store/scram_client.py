"""The client's half of SCRAM-SHA-256, written from RFC 5802 and RFC 7677 alone."""

import base64
import hashlib
import hmac
import secrets

from passlib.utils import saslprep


def salt_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Compute Hi() as the standard spells it out."""
    block = hmac.new(password.encode(), salt + b"\0\0\0\1", hashlib.sha256).digest()
    result = int.from_bytes(block, "big")
    for _ in range(iterations - 1):
        block = hmac.new(password.encode(), block, hashlib.sha256).digest()
        result ^= int.from_bytes(block, "big")
    return result.to_bytes(32, "big")


class ScramClient:
    """Know one password and check that the server knows its keys."""

    def __init__(self, name: str, password: str, *, header: str = "n,,", nonce: str | None = None) -> None:
        self.header = header
        self.nonce = nonce or secrets.token_hex(12)
        self.bare = f"n={saslprep(name).replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"
        self.password = saslprep(password)
        self.server_signature = b""
        self.salt = b""
        self.iterations = 0

    def first(self) -> bytes:
        return f"{self.header}{self.bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """Answer the server's challenge, after looking at it closely."""
        text = challenge.decode("ascii")
        nonce, salt, iterations = text.split(",")
        assert nonce.startswith("r=" + self.nonce)
        assert len(nonce) > len("r=" + self.nonce) + 16
        self.salt = base64.b64decode(salt.removeprefix("s="), validate=True)
        self.iterations = int(iterations.removeprefix("i="))
        assert len(self.salt) >= 16
        salted = salt_password(self.password, self.salt, self.iterations)
        client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
        stored_key = hashlib.sha256(client_key).digest()
        without_proof = f"c={base64.b64encode(self.header.encode()).decode()},{nonce}"
        message = f"{self.bare},{text},{without_proof}".encode()
        client_signature = hmac.new(stored_key, message, hashlib.sha256).digest()
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
        server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
        self.server_signature = hmac.new(server_key, message, hashlib.sha256).digest()
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def trusts(self, server_final: bytes | None) -> bool:
        """Tell whether the server proved that it holds the keys."""
        return server_final == b"v=" + base64.b64encode(self.server_signature)
