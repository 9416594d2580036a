"""The authenticator `jwt`: a token as the password or the user name says who somebody is and what they may do."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from ..errors import Invalid
from ..records import LAST_SECOND
from .key_source import KeySource
from .settings import JwtSettings
from .token_rights import TokenRights, TokenRightsReader
from .tokens import MAX_TOKEN_BYTES, BadClaim, Token, check_times, read_token

_PLACEHOLDER = re.compile(r"\$\{(clientid|username)\}")


class Bearer(NamedTuple):
    """Describe a client whose token is genuine and in force."""

    username: str | None
    """The user name; where that was the token itself, the one which the token names."""
    superuser: bool
    valid_until: float | None
    rights: TokenRights


class Refused(NamedTuple):
    """Say for the log why a genuine token lets nobody in."""

    log: str


class TokenAuthenticator:
    """Decide on tokens; None is no opinion: there is no token, or none that these keys have signed."""

    def __init__(self, settings: JwtSettings, source: KeySource, clock: Callable[[], float]) -> None:
        self._settings = settings
        self.source = source
        self._clock = clock
        self._rights = TokenRightsReader()

    @property
    def takes(self) -> Literal["password", "username"]:
        """Where the token is looked for."""
        return self._settings.source

    def decide(self, client_id: str, username: str | None, password: bytes | None) -> Bearer | Refused | None:
        """Decide on a client by its token; a signature takes up to about 100 microseconds to verify."""
        from_name = self._settings.source == "username"
        if from_name:
            data = None if username is None or len(username) > MAX_TOKEN_BYTES else username.encode()
        else:
            data = password
        token = None if data is None else read_token(data)
        if token is None or not self._is_genuine(token):
            return None
        try:
            claims = token.claims()
            until = check_times(claims, self._clock())
            self._check_claims(claims, client_id, None if from_name else username)
            rights = self._rights.read(claims.get(self._settings.acl_claim_name))
        except BadClaim as error:
            return Refused(str(error))
        except Invalid as error:
            return Refused(error.message)
        # After its end a token with rules would deny everything, so that the session may as well end.
        ends = until is not None and (self._settings.disconnect_after_expire or rights.policy is not None)
        return Bearer(
            _name_in(claims, client_id) if from_name else username,
            claims.get("is_superuser") is True or claims.get("is_superuser") == "true",
            until if ends and until is not None and until <= LAST_SECOND else None,
            rights,
        )

    def _is_genuine(self, token: Token) -> bool:
        keys = self.source.keys
        if token.is_signed_by(keys):
            return True
        if token.key_id is not None and all(key.id != token.key_id for key in keys):
            self.source.missed()
        return False

    def _check_claims(self, claims: Mapping[str, Any], client_id: str, username: str | None) -> None:
        """Raise BadClaim unless each claim that must be there is, and is what it must be."""
        values = {"clientid": client_id, "username": username}
        for name, template in self._settings.verify_claims.items():
            wanted = _fill_in(template, values)
            if wanted is None or _text_of(claims.get(name)) != wanted:
                raise BadClaim(f"the claim {name[:100]!r} is not what it must be")


def _fill_in(template: str, values: Mapping[str, str | None]) -> str | None:
    """Put a client's own values into a template; None where one is missing."""
    needed = {name: values[name] for name in _PLACEHOLDER.findall(template)}
    if not all(needed.values()):
        return None
    return _PLACEHOLDER.sub(lambda found: needed[found[1]] or "", template)


def _text_of(claim: object) -> str | None:
    if isinstance(claim, bool):
        return str(claim).lower()
    return str(claim) if isinstance(claim, str | int) else None


def _name_in(claims: Mapping[str, Any], client_id: str) -> str:
    """Say who the bearer is where the user name was the token, which is a secret and must not be shown as a name."""
    for name in ("username", "sub"):
        value = claims.get(name)
        if isinstance(value, str) and value and value.isprintable():
            return value
    return client_id
