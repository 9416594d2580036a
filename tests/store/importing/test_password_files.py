"""Password files: every line is a user or is named with the reason why not, and no password gets out."""

import pytest
from wardenmq.store.credentials.password_formats import from_modular, from_mosquitto
from wardenmq.store.errors import Invalid
from wardenmq.store.importing.password_files import parse_amqtt_passwords, parse_mosquitto_passwords
from wardenmq.store.importing.records import ParsedUsers

# As mosquitto_passwd 2.0.11 wrote them for "correct horse" and, with -H sha512, "battery: staple".
PBKDF2 = (
    "$7$101$UmcAVwqzg9UOHsKL$4KAFpkbSJD7o6tnbnjcN7PIeD/sBPBeohbXYsHpkowYGYd6udQP7KCtrl7TeJpH1SHfduwzyzqOOlKhhW4DpvA=="
)
SHA512 = "$6$XAuWQk5GccZLmUsY$tknQe4KQWCnCvoiBmzai6c2kiyhQeB80FsR7yhmoyQkYp4kZSTwAgUzBL7YBbCNhjSlNbE19I3k0a0m14StVOg=="
ARGON2 = "$argon2id$v=19$m=47104,t=1,p=1$EiLk3JtTqlXK2TtnLOX8Hw$gaW9x8ynqHYmLVT8M0b0ZiNY+1j5qyEjrnfKyRlukeU"
BCRYPT = "$2b$04$pehtNGA1A6ql3NYM7ezZy.baHgsmPVsEcD7TtkHMqY7Cu4bpT8Mk6"
CRYPT = (
    "$6$rounds=1000$FXba51EJ4XVBpH0o$"
    "SaVhrpQFQXANMsPWBUoN7UWilij6ZQ9DyaClHkmMfycspVUoW2VYHsE9n3/e7MpuEXV4RNlgkMUz.dD97J8C4/"
)

MOSQUITTO_FILE = f"""# made by mosquitto_passwd
alice:{PBKDF2}
  bob :{SHA512}  \r
carol:{ARGON2}

zwölf ümlaute:{PBKDF2}
dora:{PBKDF2}:1001:whatever
"""


def skipped(parsed: ParsedUsers) -> list[tuple[int, str, str]]:
    return [(entry.line, entry.what, entry.reason) for entry in parsed.skipped]


def test_mosquittos_file() -> None:
    parsed = parse_mosquitto_passwords(MOSQUITTO_FILE.encode())
    assert [(user.line, user.name, user.secret) for user in parsed.users] == [
        (2, "alice", from_mosquitto(PBKDF2)),
        (3, "bob", from_mosquitto(SHA512)),
        (4, "carol", from_mosquitto(ARGON2)),
        (6, "zwölf ümlaute", from_mosquitto(PBKDF2)),
        (7, "dora", from_mosquitto(PBKDF2)),
    ]
    assert parsed.skipped == parsed.notes == ()
    assert {user.login_type for user in parsed.users} == {"username"}
    assert not any(user.superuser or user.disabled or user.roles for user in parsed.users)


def test_each_malformed_line_is_named() -> None:
    data = b"\n".join(
        (
            b"hunter2 without a colon",
            b":" + PBKDF2.encode(),
            b"plain:hunter2",
            b"empty:",
            b"blank:  \t",
            b"damaged:" + PBKDF2[:-3].encode(),
            b"foreign:" + BCRYPT.encode(),
            b"endless:$7$99999999999$" + PBKDF2.split("$", 3)[3].encode(),
            b"none:$7$0$" + PBKDF2.split("$", 3)[3].encode(),
            b"tab\there:" + PBKDF2.encode(),
            b"\xff:" + PBKDF2.encode(),
            b"good:" + PBKDF2.encode(),
        )
    )
    parsed = parse_mosquitto_passwords(data)
    assert [user.name for user in parsed.users] == ["good"]
    assert [(line, what) for line, what, _ in skipped(parsed)] == [
        (1, ""),
        (2, ""),
        (3, "plain"),
        (4, "empty"),
        (5, "blank"),
        (6, "damaged"),
        (7, "foreign"),
        (8, "endless"),
        (9, "none"),
        (10, "tab\N{REPLACEMENT CHARACTER}here"),
        (11, ""),
    ]
    reasons = [reason for _, _, reason in skipped(parsed)]
    assert reasons[0] == "There is no colon between name and hash."
    assert reasons[1] == "The user name must not be empty."
    assert reasons[2] == "The password is not hashed; mosquitto_passwd -U does it."
    assert reasons[3] == reasons[4] == "There is no hash behind the name."
    assert reasons[9] == "The user name must not contain U+0009."
    assert all(reason.endswith(".") for reason in reasons)
    assert "hunter2" not in repr(parsed)
    assert PBKDF2[-20:] not in repr(parsed)


def test_of_several_lines_for_a_user_the_last_counts() -> None:
    data = f"a:{PBKDF2}\nb:{PBKDF2}\na:{SHA512}\na:nothing\n"
    parsed = parse_mosquitto_passwords(data.encode())
    assert [(user.name, user.secret) for user in parsed.users] == [
        ("b", from_mosquitto(PBKDF2)),
        ("a", from_mosquitto(SHA512)),
    ]
    assert [(line, what) for line, what, _ in skipped(parsed)] == [(1, "a"), (4, "a")]
    assert parsed.skipped[0].reason == "Line 3 has the same name and counts."


def test_a_name_is_as_long_as_mqtt_allows() -> None:
    longest = "x" * 65_535
    parsed = parse_mosquitto_passwords(f"{longest}:{PBKDF2}\ny{longest}:{PBKDF2}\n".encode())
    assert [user.name for user in parsed.users] == [longest]
    assert len(parsed.skipped) == 1
    assert len(parsed.skipped[0].what) < 200


def test_amqtts_file() -> None:
    data = f"""# comment
  # comment too
alice:{ARGON2}
  bob:{BCRYPT}\t
carol :{CRYPT}
dora:{ARGON2}
dora:{CRYPT}
nobody
:{ARGON2}
erwin:{PBKDF2}
fritz:hunter2
gustav:
"""
    parsed = parse_amqtt_passwords(data.replace("\n", "\r\n").encode())
    assert [(user.line, user.name, user.secret) for user in parsed.users] == [
        (3, "alice", from_modular(ARGON2)),
        (4, "bob", from_modular(BCRYPT)),
        (5, "carol ", from_modular(CRYPT)),
        (7, "dora", from_modular(CRYPT)),
    ]
    assert [(line, what) for line, what, _ in skipped(parsed)] == [
        (6, "dora"),
        (8, ""),
        (9, ""),
        (10, "erwin"),
        (11, "fritz"),
        (12, "gustav"),
    ]
    assert "hunter2" not in repr(parsed)


def test_a_sha_512_crypt_is_not_mosquittos_sha_512() -> None:
    assert parse_mosquitto_passwords(f"a:{CRYPT}".encode()).users == ()
    assert parse_amqtt_passwords(f"a:{SHA512}".encode()).users == ()


@pytest.mark.parametrize("parse", [parse_mosquitto_passwords, parse_amqtt_passwords])
def test_nothing_is_no_failure_but_utf_16_is(parse: object) -> None:
    assert callable(parse)
    assert parse(b"") == ParsedUsers(())
    assert parse(b"# only\n#comments\n") == ParsedUsers(())
    with pytest.raises(Invalid):
        parse("alice:x".encode("utf-16"))
