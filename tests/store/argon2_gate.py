"""A stand-in for passlib's argon2 that counts its calls and can be held up."""

import hashlib
import threading

from wardenmq.store.credentials.stored_secrets import HOUSE_PREFIX

TIME_LIMIT = 30.0


class Argon2Gate:
    """Hash at once; verify only while the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.verified: list[bytes] = []

    def using(self, **parameters: object) -> "Argon2Gate":
        return self

    def hash(self, secret: bytes) -> str:
        return HOUSE_PREFIX + hashlib.sha256(secret).hexdigest()

    def verify(self, secret: bytes, hash: str) -> bool:
        self.verified.append(secret)
        assert self.open.wait(TIME_LIMIT)
        return self.hash(secret) == hash
