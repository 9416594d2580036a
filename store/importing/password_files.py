"""Password files with a line for each user: Mosquitto's, and that of amqtt's FileAuthPlugin."""

from ..credentials.password_formats import from_modular, from_mosquitto
from ..errors import Invalid
from ..names import check_identifier
from .findings import Findings
from .lines import BLANKS, numbered_lines
from .records import ImportedUser, ParsedUsers
from .user_list import UserList


def parse_mosquitto_passwords(data: bytes) -> ParsedUsers:
    """Read `mosquitto_passwd`'s file; raise Invalid where it is none at all.

    Blanks around name and hash do not count, nor does what follows a second colon. Mosquitto passes over lines without
    a colon; of two lines for a user its releases up to 2.0 take the last, later ones refuse the file.
    """
    findings = Findings()
    users = UserList(findings)
    for number, text in numbered_lines(data, findings):
        if text is None or text.startswith("#"):
            continue
        name, colon, rest = text.partition(":")
        if not colon:
            # Not even a part of it is shown: it may be a password.
            findings.skip(number, "", "There is no colon between name and hash.")
            continue
        name, hashed = name.strip(BLANKS), rest.partition(":")[0].strip(BLANKS)
        try:
            check_identifier(name, "user name")
            if not hashed:
                raise Invalid("There is no hash behind the name.")
            if not hashed.startswith("$"):
                raise Invalid("The password is not hashed; mosquitto_passwd -U does it.")
            users.add(ImportedUser(name, secret=from_mosquitto(hashed), line=number))
        except Invalid as error:
            findings.skip(number, name, error.message)
    return users.result()


def parse_amqtt_passwords(data: bytes) -> ParsedUsers:
    """Read the file of amqtt's FileAuthPlugin; raise Invalid where it is none at all.

    Its hashes are in modular crypt format. It strips the line, but not the name.
    """
    findings = Findings()
    users = UserList(findings)
    for number, text in numbered_lines(data, findings):
        line = "" if text is None else text.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not colon:
            findings.skip(number, "", "There is no colon between name and hash.")
            continue
        try:
            check_identifier(name, "user name")
            users.add(ImportedUser(name, secret=from_modular(hashed), line=number))
        except Invalid as error:
            findings.skip(number, name, error.message)
    return users.result()
