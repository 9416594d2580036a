"""HOST:PORT."""

import pytest
from wardenmq.config.address import format_address, split_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1883", ("127.0.0.1", 1883)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_there_and_back(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address
    assert format_address(*address) == text


NO_PORT = ["", ":", "a", "a:", "1883", "[::1]"]
NO_SUCH_PORT = ["a:65536", "a:-1", "a:1e3", "a:\N{ARABIC-INDIC DIGIT ONE}", "a:000001", "a: 1"]
NO_HOST = [":1883", "::1:1883", "[a]:1", "[::1:1883", "a b:1", "a\n:1"]


@pytest.mark.parametrize("text", [*NO_PORT, *NO_SUCH_PORT, *NO_HOST])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        split_address(text)


def test_a_unix_sockets_address_has_no_port() -> None:
    assert format_address("unix:/run/mqtt.sock", 0) == "unix:/run/mqtt.sock"
