"""Tokens of those who run the broker: the operator's, and the key to BunkerM's facade."""

from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

from .credentials.stored_secrets import digest, encode_secret, generate_token, store_token
from .database import Database, Statement
from .principals import insert_credential, insert_principal
from .writer import Write

TokenKind = Literal["bunkerm_key", "platform_token"]

_PREFIXES: dict[TokenKind, str] = {"bunkerm_key": "", "platform_token": "isr_mqtt_platform_rest_"}
_HINT_LENGTH = 4
_DELETE = "DELETE FROM principal WHERE kind = ?"

_LOAD_TOKENS = """
    SELECT p.kind, c.secret_hash FROM principal p JOIN credential c ON c.principal_id = p.id AND c.kind = 'token'
    WHERE p.kind IN ('bunkerm_key', 'platform_token') AND c.revoked_at IS NULL AND p.disabled_at IS NULL"""


class Operators:
    """Own the operators' tokens in memory."""

    def __init__(self) -> None:
        # Found by digest: without the token nobody can steer where in the table the search ends.
        self._tokens: dict[bytes, TokenKind] = {}

    async def load(self, database: Database) -> None:
        """Read all tokens."""
        for kind, secret_hash in await database.read(_LOAD_TOKENS):
            self._tokens[bytes(secret_hash)] = kind

    def verify(self, kind: TokenKind, token: str) -> bool:
        """Tell whether a token of this kind is right."""
        return self._tokens.get(digest(token.encode(errors="replace"))) == kind

    def create_token(self, kind: TokenKind, at: int) -> Write[str]:
        """Prepare a token; the result is shown once and kept nowhere."""
        return self._create(kind, _PREFIXES[kind] + generate_token(), at, ())

    def set_token(self, kind: TokenKind, token: str, at: int) -> Write[str]:
        """Prepare that a token which somebody chose is the only one of its kind."""
        encode_secret(token)
        return self._create(kind, token, at, [Statement(_DELETE, [(kind,)])])

    def _create(self, kind: TokenKind, token: str, at: int, before: Sequence[Statement]) -> Write[str]:
        secret = store_token(token)
        principal = str(uuid4())
        hint = token[: len(_PREFIXES[kind]) + _HINT_LENGTH] + "..." if not before else ""

        def apply() -> None:
            if before:
                self._tokens = {known: other for known, other in self._tokens.items() if other != kind}
            self._tokens[secret.secret_hash] = kind

        return Write(
            action="token.set" if before else "token.create",
            target=f"{kind}:{principal}",
            statements=[
                *before,
                insert_principal({"id": principal, "kind": kind}, at),
                insert_credential(principal, "token", secret, at, hint=hint),
            ],
            apply=apply,
            result=token,
        )
