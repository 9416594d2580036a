"""What authenticators, their state and their users look like."""

from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import BeforeValidator, Discriminator, Field, RootModel, Tag, model_validator
from typing_extensions import TypedDict

from ....store.authenticators.settings import MAX_CLAIMS, MAX_HEADERS, MAX_REFRESH, MAX_TEXT, MIN_REFRESH
from ....store.credentials.new_hashes import MAX_SALT_ROUNDS, MIN_SALT_ROUNDS
from ....store.credentials.password_formats import MAX_KEY_BYTES, MAX_PBKDF2_ITERATIONS, MIN_KEY_BYTES
from ....store.credentials.scram_cost import MAX_ITERATIONS
from ...limits import Body
from ...paging import Meta, PageQuery, Query

_Path = Annotated[str, Field(max_length=4_096)]
_Short = Annotated[str, Field(max_length=1_000)]
_SaltPosition = Literal["disable", "prefix", "suffix"]
_MacFunction = Literal["md4", "md5", "ripemd160", "sha", "sha224", "sha256", "sha384", "sha512"]


class SimpleAlgorithm(Body):
    """A digest of password and salt."""

    name: Literal["plain", "md5", "sha", "sha256", "sha512"]
    salt_position: _SaltPosition = "prefix"


class BcryptAlgorithm(Body):
    """bcrypt, whose salt is in the hash."""

    name: Literal["bcrypt"]
    salt_rounds: int = Field(default=10, ge=MIN_SALT_ROUNDS, le=MAX_SALT_ROUNDS)


class Pbkdf2Algorithm(Body):
    """PBKDF2 with a digest that is there."""

    name: Literal["pbkdf2"]
    mac_fun: _MacFunction
    iterations: int = Field(ge=1, le=MAX_PBKDF2_ITERATIONS)
    dk_length: int | None = Field(default=None, ge=MIN_KEY_BYTES, le=MAX_KEY_BYTES)


Algorithm = Annotated[SimpleAlgorithm | BcryptAlgorithm | Pbkdf2Algorithm, Field(discriminator="name")]


class NewDatabase(Body):
    """The built-in database of users with passwords."""

    mechanism: Literal["password_based"]
    backend: Literal["built_in_database"]
    enable: bool = True
    user_id_type: Literal["username", "clientid"] = "username"
    password_hash_algorithm: Algorithm | None = Field(
        default=None, description="How new passwords are hashed; without it as strongly as the server does by itself"
    )
    bootstrap_file: _Path | None = None
    bootstrap_type: Literal["plain", "hash"] = "plain"


class NewScram(Body):
    """SCRAM-SHA-256 for the users of the built-in database."""

    mechanism: Literal["scram"]
    backend: Literal["built_in_database"]
    enable: bool = True
    algorithm: Literal["sha256", "sha512"] = "sha256"
    iteration_count: int | None = Field(default=None, ge=0, le=MAX_ITERATIONS)


def _as_mapping(value: object) -> object:
    """Take claims as EMQX's dashboard sends them, too: a list of names and values."""
    if not isinstance(value, list):
        return value
    claims: dict[str, object] = {}
    for item in cast("list[object]", value)[: MAX_CLAIMS + 1]:
        pair = cast("dict[str, object]", item) if isinstance(item, dict) else {}
        if set(pair) != {"name", "value"} or not isinstance(pair["name"], str):
            raise ValueError("must be an object, or a list of objects with name and value")
        claims[pair["name"]] = pair["value"]
    return claims


class _NewJwt(Body):
    mechanism: Literal["jwt"]
    enable: bool = True
    source: Literal["password", "username"] = Field(default="password", alias="from")
    acl_claim_name: _Short = Field(default="acl", min_length=1)
    verify_claims: Annotated[dict[_Short, _Short], BeforeValidator(_as_mapping)] = Field(
        default_factory=dict, max_length=MAX_CLAIMS
    )
    disconnect_after_expire: bool = True


class NewSharedSecretJwt(_NewJwt):
    """Tokens signed with a secret that is shared."""

    use_jwks: Literal[False] = False
    algorithm: Literal["hmac-based"]
    secret: str = Field(min_length=1, max_length=MAX_TEXT, repr=False)
    secret_base64_encoded: bool = False


class NewPublicKeyJwt(_NewJwt):
    """Tokens signed with the private half of one key."""

    use_jwks: Literal[False] = False
    algorithm: Literal["public-key"]
    public_key: str = Field(min_length=1, max_length=MAX_TEXT, description="PEM, or the path of a file with it")


class KeySetTls(Body):
    """How the endpoint of a key set is reached over TLS."""

    enable: bool = False
    verify: Literal["verify_peer", "verify_none"] = "verify_peer"
    cacertfile: _Path | None = None


class NewKeySetJwt(_NewJwt):
    """Tokens signed with one of the keys of a JSON Web Key Set."""

    use_jwks: Literal[True]
    endpoint: str = Field(min_length=1, max_length=4_096, description="http(s)://, file:/// or an absolute path")
    refresh_interval: int = Field(default=300, ge=MIN_REFRESH, le=MAX_REFRESH)
    headers: dict[_Short, Annotated[str, Field(max_length=10_000)]] = Field(
        default_factory=dict, max_length=MAX_HEADERS, repr=False
    )
    pool_size: int = Field(default=8, ge=1, le=1_000)
    ssl: KeySetTls = KeySetTls()


_TRUE = (True, "true", 1, "1")
_KINDS = {
    ("password_based", "built_in_database"): "built_in_database",
    ("scram", "built_in_database"): "scram",
}
_ELSEWHERE = ("http", "mysql", "postgresql", "mongodb", "redis", "ldap", "kerberos", "cinfo", "gssapi")


def _kind(value: Any) -> str | None:
    """Tell by what stands in it which kind of authenticator is meant."""

    def read(name: str) -> Any:
        return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else getattr(value, name, None)

    mechanism = read("mechanism")
    if mechanism == "jwt":
        if read("use_jwks") in _TRUE:
            return "jwks"
        return "public_key" if read("algorithm") == "public-key" else "hmac"
    backend = read("backend")
    return _KINDS.get((mechanism, backend)) if isinstance(mechanism, str) and isinstance(backend, str) else None


class NewAuthenticator(
    RootModel[
        Annotated[
            Annotated[NewDatabase, Tag("built_in_database")]
            | Annotated[NewScram, Tag("scram")]
            | Annotated[NewSharedSecretJwt, Tag("hmac")]
            | Annotated[NewPublicKeyJwt, Tag("public_key")]
            | Annotated[NewKeySetJwt, Tag("jwks")],
            Discriminator(
                _kind,
                custom_error_type="unknown_authenticator",
                custom_error_message="mechanism and backend must be password_based and built_in_database, scram and "
                "built_in_database, or jwt and none",
            ),
        ]
    ]
):
    """How an authenticator is set up."""

    @model_validator(mode="before")
    @classmethod
    def _name_what_is_missing(cls, value: Any) -> Any:
        if isinstance(value, dict):
            fields = cast("dict[str, object]", value)
            for name in ("backend", "mechanism"):
                if (given := fields.get(name)) in _ELSEWHERE:
                    raise ValueError(f"the backend {given} is not supported: authenticators are built in, or jwt")
        return cast("object", value)

    def fields(self) -> dict[str, Any]:
        """Give it as the store takes it."""
        return self.model_dump(by_alias=True, exclude_none=True)


class AlgorithmRow(TypedDict):
    """Show how new passwords are hashed."""

    name: str
    salt_position: NotRequired[_SaltPosition]
    salt_rounds: NotRequired[int]
    mac_fun: NotRequired[_MacFunction]
    iterations: NotRequired[int]
    dk_length: NotRequired[int]


class DatabaseRow(TypedDict):
    """Show the built-in database; without `password_hash_algorithm` where passwords are hashed in the server's way."""

    id: Literal["password_based:built_in_database"]
    mechanism: Literal["password_based"]
    backend: Literal["built_in_database"]
    enable: bool
    user_id_type: Literal["username", "clientid"]
    password_hash_algorithm: NotRequired[AlgorithmRow]
    bootstrap_file: NotRequired[str]
    bootstrap_type: Literal["plain", "hash"]


class ScramRow(TypedDict):
    """Show SCRAM."""

    id: Literal["scram:built_in_database"]
    mechanism: Literal["scram"]
    backend: Literal["built_in_database"]
    algorithm: Literal["sha256"]
    iteration_count: int
    enable: bool


class KeySetTlsRow(TypedDict):
    """Show how the endpoint of a key set is reached over TLS."""

    enable: bool
    verify: Literal["verify_peer", "verify_none"]
    cacertfile: NotRequired[str]


JwtRow = TypedDict(
    "JwtRow",
    {
        "id": Literal["jwt"],
        "mechanism": Literal["jwt"],
        "enable": bool,
        "from": Literal["password", "username"],
        "acl_claim_name": str,
        "verify_claims": dict[str, str],
        "disconnect_after_expire": bool,
        "use_jwks": bool,
        "algorithm": NotRequired[Literal["hmac-based", "public-key"]],
        "secret": NotRequired[str],
        "secret_base64_encoded": NotRequired[bool],
        "public_key": NotRequired[str],
        "endpoint": NotRequired[str],
        "refresh_interval": NotRequired[int],
        "headers": NotRequired[dict[str, str]],
        "pool_size": NotRequired[int],
        "ssl": NotRequired[KeySetTlsRow],
    },
)
JwtRow.__doc__ = "Show what verifies tokens, never a secret."

AuthenticatorRow = DatabaseRow | ScramRow | JwtRow


class AuthenticatorMetrics(TypedDict):
    """Show what came of the clients that an authenticator was asked about."""

    total: int
    success: int
    failed: int
    nomatch: int
    rate: float
    rate_last5m: float
    rate_max: float


class NodeMetrics(TypedDict):
    """Show the metrics of a node."""

    node: str
    metrics: AuthenticatorMetrics


class NodeStatus(TypedDict):
    """Show the state of an authenticator on a node."""

    node: str
    status: Literal["connected", "connecting", "disconnected"]


class NodeError(TypedDict):
    """Show why an authenticator is not connected."""

    node: str
    error: str


class AuthenticatorStatus(TypedDict):
    """Show how an authenticator is doing."""

    metrics: AuthenticatorMetrics
    node_metrics: list[NodeMetrics]
    resource_metrics: dict[str, int]
    node_resource_metrics: list[dict[str, int]]
    status: Literal["connected", "connecting", "disconnected"]
    node_status: list[NodeStatus]
    node_error: list[NodeError]


class OrderEntry(Body):
    """Name an authenticator in its place."""

    id: str = Field(max_length=1_000)


class ImportQuery(Query):
    """Say what kind of users a file holds."""

    type: Literal["plain", "hash"] = Field(default="hash", description="Passwords, or hashes of the set algorithm")


class ImportedUser(TypedDict):
    """Describe one user of a body that is an array of them; what is read of it depends on the kind."""

    user_id: str
    password: NotRequired[str]
    password_hash: NotRequired[str]
    salt: NotRequired[str]
    is_superuser: NotRequired[bool]


class User(TypedDict):
    """Show a login of the built-in database, never its password in any form."""

    user_id: str
    is_superuser: bool


class UserPage(TypedDict):
    """One page of users."""

    data: list[User]
    meta: Meta


class UserQuery(PageQuery):
    """Ask for users."""

    like_user_id: str | None = Field(default=None, description="Part of the user id")
    is_superuser: bool | None = None


class NewUser(Body):
    """A user to be created."""

    user_id: str = Field(min_length=1)
    password: str = Field(min_length=1, repr=False)
    is_superuser: bool = False


class ChangedUser(Body):
    """A user's new password; what is not given stays."""

    password: str = Field(min_length=1, repr=False)
    is_superuser: bool | None = None
