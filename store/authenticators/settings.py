"""What each kind of authenticator is set to, and its form in JSON under EMQX's names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, cast, get_args

from ..credentials.new_hashes import check_algorithm
from ..credentials.password_formats import EmqxAlgorithm
from ..credentials.scram_cost import check_iterations
from ..errors import Invalid
from ..names import check_text
from ..records import LoginType

HIDDEN = "******"
"""Stands for a secret in what is shown; sent back, it means the secret that is there."""

DATABASE_ID = "password_based:built_in_database"
SCRAM_ID = "scram:built_in_database"
JWT_ID = "jwt"

MAX_TEXT = 65_536
"""Characters of a key, the longest text there is."""
MAX_CLAIMS = 100
MAX_HEADERS = 50
MIN_REFRESH = 1
MAX_REFRESH = 86_400 * 30

BootstrapType = Literal["plain", "hash"]
TokenSource = Literal["password", "username"]

_SECRET_HEADERS = ("auth", "cookie", "key", "token", "secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Set the logins of the built-in database."""

    id: ClassVar[str] = DATABASE_ID
    enable: bool = True
    user_id_type: LoginType = "username"
    algorithm: EmqxAlgorithm | None = None
    """How passwords are hashed that are set through the authenticator; None for this program's own way."""
    bootstrap_file: str = ""
    bootstrap_type: BootstrapType = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramSettings:
    """Offer SCRAM-SHA-256 for the logins of the built-in database, or not."""

    id: ClassVar[str] = SCRAM_ID
    enable: bool = True
    iterations: int | None = None
    """None for what the server's own settings say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecret:
    """Verify tokens by HMAC."""

    secret: str = field(repr=False)
    is_base64: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """Verify tokens by one public key or certificate, in PEM or in the file of this path."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """Verify tokens by the keys that somebody publishes as a JSON Web Key Set."""

    endpoint: str
    """`http(s)://...`, `file:///...` or an absolute path."""
    refresh_interval: int = 300
    """Seconds."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    pool_size: int = 8
    """Kept for those who read it back: the keys are fetched over one connection at a time."""
    tls: bool = False
    """What `ssl.enable` was set to; the endpoint's scheme is what decides."""
    verify_peer: bool = True
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """Admit who presents a JSON Web Token that one of the keys has signed."""

    id: ClassVar[str] = JWT_ID
    keys: SharedSecret | PublicKey | KeySet
    enable: bool = True
    source: TokenSource = "password"
    acl_claim_name: str = "acl"
    verify_claims: Mapping[str, str] = field(default_factory=dict[str, str])
    disconnect_after_expire: bool = True


Settings: TypeAlias = DatabaseSettings | ScramSettings | JwtSettings

FIRST_CHAIN: tuple[Settings, ...] = (DatabaseSettings(),)
"""What a new server has."""


def holds_secret(header: str) -> bool:
    """Tell whether the value of an HTTP header of this name is not to be shown."""
    return any(part in header.lower() for part in _SECRET_HEADERS)


def to_fields(settings: Settings, *, masked: bool = True) -> dict[str, Any]:
    """Give settings as JSON data; `masked` without secrets."""
    if isinstance(settings, DatabaseSettings):
        return _database_fields(settings)
    if isinstance(settings, ScramSettings):
        fields = {"mechanism": "scram", "backend": "built_in_database", "algorithm": "sha256"}
        given = {} if settings.iterations is None else {"iteration_count": settings.iterations}
        return {**fields, **given, "enable": settings.enable}
    return _jwt_fields(settings, masked=masked)


def from_fields(fields: Mapping[str, Any], old: Settings | None = None) -> Settings:
    """Read settings out of JSON data of the right types; raise Invalid.

    `old` is what holds until now: a secret that is `HIDDEN` is the one there.
    """
    mechanism, backend = fields.get("mechanism"), fields.get("backend")
    if mechanism == "jwt":
        return _read_jwt(fields, old if isinstance(old, JwtSettings) else None)
    if (mechanism, backend) == ("password_based", "built_in_database"):
        return _read_database(fields)
    if (mechanism, backend) == ("scram", "built_in_database"):
        return _read_scram(fields)
    raise Invalid("There is no authenticator of this mechanism and backend here.")


def _database_fields(settings: DatabaseSettings) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "mechanism": "password_based",
        "backend": "built_in_database",
        "enable": settings.enable,
        "user_id_type": settings.user_id_type,
    }
    if settings.algorithm is not None:
        fields["password_hash_algorithm"] = _algorithm_fields(settings.algorithm)
    if settings.bootstrap_file:
        fields["bootstrap_file"] = settings.bootstrap_file
    fields["bootstrap_type"] = settings.bootstrap_type
    return fields


def _algorithm_fields(algorithm: EmqxAlgorithm) -> dict[str, Any]:
    if algorithm.name == "bcrypt":
        return {"name": "bcrypt", "salt_rounds": algorithm.salt_rounds}
    if algorithm.name == "pbkdf2":
        fields: dict[str, Any] = {"name": "pbkdf2", "mac_fun": algorithm.mac_fun, "iterations": algorithm.iterations}
        return fields if algorithm.dk_length is None else {**fields, "dk_length": algorithm.dk_length}
    return {"name": algorithm.name, "salt_position": algorithm.salt_position}


def _jwt_fields(settings: JwtSettings, *, masked: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "mechanism": "jwt",
        "enable": settings.enable,
        "from": settings.source,
        "acl_claim_name": settings.acl_claim_name,
        "verify_claims": dict(settings.verify_claims),
        "disconnect_after_expire": settings.disconnect_after_expire,
    }
    keys = settings.keys
    if isinstance(keys, KeySet):
        headers = {name: HIDDEN if masked and holds_secret(name) else value for name, value in keys.headers.items()}
        ssl: dict[str, Any] = {
            "enable": keys.tls,
            "verify": "verify_peer" if keys.verify_peer else "verify_none",
        }
        if keys.ca_file:
            ssl["cacertfile"] = keys.ca_file
        return {
            **fields,
            "use_jwks": True,
            "endpoint": keys.endpoint,
            "refresh_interval": keys.refresh_interval,
            "headers": headers,
            "pool_size": keys.pool_size,
            "ssl": ssl,
        }
    if isinstance(keys, PublicKey):
        return {**fields, "use_jwks": False, "algorithm": "public-key", "public_key": keys.text}
    secret = HIDDEN if masked else keys.secret
    return {
        **fields,
        "use_jwks": False,
        "algorithm": "hmac-based",
        "secret": secret,
        "secret_base64_encoded": keys.is_base64,
    }


def _read_database(fields: Mapping[str, Any]) -> DatabaseSettings:
    user_id_type, bootstrap_type = fields.get("user_id_type", "username"), fields.get("bootstrap_type", "plain")
    if user_id_type not in get_args(LoginType):
        raise Invalid("user_id_type must be username or clientid.")
    if bootstrap_type not in get_args(BootstrapType):
        raise Invalid("bootstrap_type must be plain or hash.")
    algorithm = fields.get("password_hash_algorithm")
    file = _text(fields, "bootstrap_file", "")
    return DatabaseSettings(
        enable=bool(fields.get("enable", True)),
        user_id_type=cast("LoginType", user_id_type),
        algorithm=None if algorithm is None else _read_algorithm(algorithm),
        bootstrap_file=file,
        bootstrap_type=cast("BootstrapType", bootstrap_type),
    )


def _read_algorithm(fields: Mapping[str, Any]) -> EmqxAlgorithm:
    dk_length = fields.get("dk_length")
    return check_algorithm(
        EmqxAlgorithm(
            name=fields.get("name", ""),
            salt_position=fields.get("salt_position", "prefix"),
            salt_rounds=int(fields.get("salt_rounds", 10)),
            mac_fun=str(fields.get("mac_fun", "sha256")),
            iterations=int(fields.get("iterations", 0)),
            dk_length=None if dk_length is None else int(dk_length),
        )
    )


def _read_scram(fields: Mapping[str, Any]) -> ScramSettings:
    if fields.get("algorithm", "sha256") != "sha256":
        raise Invalid("SCRAM is offered with SHA-256 only.")
    iterations = fields.get("iteration_count")
    if iterations is not None:
        if not iterations:
            raise Invalid("iteration_count must not be 0; to offer no SCRAM, set enable to false.")
        check_iterations(int(iterations))
    return ScramSettings(
        enable=bool(fields.get("enable", True)), iterations=None if iterations is None else int(iterations)
    )


def _read_jwt(fields: Mapping[str, Any], old: JwtSettings | None) -> JwtSettings:
    source = fields.get("from", "password")
    if source not in get_args(TokenSource):
        raise Invalid("from must be password or username.")
    claims: Mapping[str, Any] = fields.get("verify_claims") or {}
    if len(claims) > MAX_CLAIMS:
        raise Invalid(f"There must not be more than {MAX_CLAIMS} claims to verify.")
    return JwtSettings(
        keys=_read_keys(fields, old),
        enable=bool(fields.get("enable", True)),
        source=cast("TokenSource", source),
        acl_claim_name=_text(fields, "acl_claim_name", "acl"),
        verify_claims={str(name): str(value) for name, value in claims.items()},
        disconnect_after_expire=bool(fields.get("disconnect_after_expire", True)),
    )


def _read_keys(fields: Mapping[str, Any], old: JwtSettings | None) -> SharedSecret | PublicKey | KeySet:
    before = None if old is None else old.keys
    if fields.get("use_jwks"):
        return _read_key_set(fields, before if isinstance(before, KeySet) else None)
    algorithm = fields.get("algorithm")
    if algorithm == "public-key":
        text = str(fields.get("public_key", ""))
        if not text.strip() or len(text) > MAX_TEXT:
            raise Invalid(f"public_key must have 1 to {MAX_TEXT} characters.")
        return PublicKey(text=text)
    if algorithm != "hmac-based":
        raise Invalid("algorithm must be hmac-based or public-key.")
    secret = str(fields.get("secret", ""))
    if secret == HIDDEN:
        if not isinstance(before, SharedSecret):
            raise Invalid("There is no secret yet that could stay.")
        secret = before.secret
    if not secret or len(secret) > MAX_TEXT:
        raise Invalid(f"secret must have 1 to {MAX_TEXT} characters.")
    return SharedSecret(secret=secret, is_base64=bool(fields.get("secret_base64_encoded")))


def _read_key_set(fields: Mapping[str, Any], old: KeySet | None) -> KeySet:
    endpoint = _text(fields, "endpoint", "")
    if not endpoint.startswith(("http://", "https://", "file:///", "/")):
        raise Invalid("endpoint must begin with http://, https://, file:/// or /.")
    interval = int(fields.get("refresh_interval", 300))
    if not MIN_REFRESH <= interval <= MAX_REFRESH:
        raise Invalid(f"refresh_interval must be between {MIN_REFRESH} and {MAX_REFRESH} seconds.")
    headers: dict[str, str] = {}
    given_headers: Mapping[str, Any] = fields.get("headers") or {}
    for name, given in given_headers.items():
        value = str(given)
        if value == HIDDEN:
            value = "" if old is None else old.headers.get(name, "")
        check_text(name, "name of a header", 1_000)
        check_text(value, "value of a header", 10_000)
        headers[name] = value
    if len(headers) > MAX_HEADERS:
        raise Invalid(f"There must not be more than {MAX_HEADERS} headers.")
    ssl: Mapping[str, Any] = fields.get("ssl") or {}
    return KeySet(
        endpoint=endpoint,
        refresh_interval=interval,
        headers=headers,
        pool_size=int(fields.get("pool_size", 8)),
        tls=bool(ssl.get("enable")),
        verify_peer=ssl.get("verify", "verify_peer") != "verify_none",
        ca_file=_text(ssl, "cacertfile", ""),
    )


def _text(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = str(fields.get(name, default))
    check_text(value, name, 10_000)
    return value
