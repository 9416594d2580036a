"""Those who run the broker: dashboard users, and the tokens of the operator and of BunkerM's facade."""

from typing import Literal
from uuid import uuid4

from .credentials.stored_secrets import StoredSecret, digest, encode_secret, generate_token, store_token
from .database import Database
from .errors import AlreadyExists
from .names import check_identifier
from .principals import insert_credential, insert_principal
from .writer import Write

TokenKind = Literal["bunkerm_key", "platform_token"]

_PREFIXES: dict[TokenKind, str] = {"bunkerm_key": "", "platform_token": "isr_mqtt_platform_rest_"}
_HINT_LENGTH = 4
_DASHBOARD = "dashboard"

_LOAD_TOKENS = """
    SELECT p.kind, c.secret_hash FROM principal p JOIN credential c ON c.principal_id = p.id AND c.kind = 'token'
    WHERE p.kind IN ('bunkerm_key', 'platform_token') AND c.revoked_at IS NULL AND p.disabled_at IS NULL"""


class Operators:
    """Own the operators' tokens and names in memory."""

    def __init__(self) -> None:
        # Found by digest: without the token nobody can steer where in the table the search ends.
        self._tokens: dict[bytes, TokenKind] = {}
        self._users: set[str] = set()

    async def load(self, database: Database) -> None:
        """Read tokens and user names."""
        for kind, secret_hash in await database.read(_LOAD_TOKENS):
            self._tokens[bytes(secret_hash)] = kind
        users = await database.read("SELECT login FROM principal WHERE login_scope = ?", [_DASHBOARD])
        self._users.update(login for (login,) in users)

    def verify(self, kind: TokenKind, token: str) -> bool:
        """Tell whether a token of this kind is right."""
        return self._tokens.get(digest(token.encode(errors="replace"))) == kind

    def create_token(self, kind: TokenKind, at: int) -> Write[str]:
        """Prepare a token; the result is shown once and kept nowhere."""
        token = _PREFIXES[kind] + generate_token()
        secret = store_token(token)
        principal = str(uuid4())
        hint = token[: len(_PREFIXES[kind]) + _HINT_LENGTH] + "..."

        def apply() -> None:
            self._tokens[secret.secret_hash] = kind

        return Write(
            action="token.create",
            target=f"{kind}:{principal}",
            statements=[
                insert_principal({"id": principal, "kind": kind}, at),
                insert_credential(principal, "token", secret, at, hint=hint),
            ],
            apply=apply,
            result=token,
        )

    def check_new_user(self, name: str, password: str) -> None:
        """Raise Invalid or AlreadyExists unless a dashboard user of this name can be created."""
        check_identifier(name, "user name")
        encode_secret(password)
        if name in self._users:
            raise AlreadyExists(f"The dashboard user '{name[:200]}' already exists.")

    def create_user(self, name: str, secret: StoredSecret, at: int) -> Write[None]:
        """Prepare a dashboard user with the role administrator.

        It is a principal with a login scope of its own, so that it is no MQTT login and takes no name from them.
        """
        if name in self._users:
            raise AlreadyExists(f"The dashboard user '{name[:200]}' already exists.")
        principal = str(uuid4())
        columns: dict[str, object] = {
            "id": principal,
            "kind": "human",
            "login_type": "username",
            "login_scope": _DASHBOARD,
            "login": name,
            "http_role": "administrator",
        }
        return Write(
            action="dashboard_user.create",
            target=name,
            statements=[insert_principal(columns, at), insert_credential(principal, "password", secret, at)],
            apply=lambda: self._users.add(name),
            result=None,
        )
