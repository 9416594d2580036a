"""Addresses and networks: one spelling each, mapped addresses are IPv4, the table agrees with a plain search."""

import ipaddress
import random

import pytest
from wardenmq.store.errors import Invalid
from wardenmq.store.networks import NetworkTable, parse_address, parse_network, read_address


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0A01:0203", "10.1.2.3"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::10.1.2.3", "::a01:203"),
        ("0.0.0.0", "0.0.0.0"),
    ],
)
def test_an_address_has_one_spelling(written: str, canonical: str) -> None:
    assert str(parse_address(written)) == canonical
    assert read_address(written) == parse_address(canonical)


@pytest.mark.parametrize(
    "text",
    [
        *["", "10.1.2", "10.1.2.256", "010.1.2.3", "10.1.2.3 ", "10.1.2.3/32", "10.1.2.3%eth0", "::1::"],
        *["host", "/run/broker.sock", "1\0", "\ud800", ":\ud800", "9" * 5_000],
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert read_address(text) is None
    with pytest.raises(Invalid, match="is not an IP address") as caught:
        parse_address(text)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.3/0", "0.0.0.0/0"),
        ("2001:db8:1:2::/48", "2001:db8:1::/48"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_a_network_has_one_spelling(written: str, canonical: str) -> None:
    assert str(parse_network(written)) == canonical
    assert parse_network(written) == parse_network(canonical)


@pytest.mark.parametrize(
    "text",
    [
        *["", "/", "/8", "10/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/+8"],
        *["10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0/٨", "10.0.0.0/" + "9" * 5_000, "::/129", "::ffff:0:0/95"],
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="network"):
        parse_network(text)


def test_all_of_version_6_does_not_hold_version_4() -> None:
    assert parse_address("::ffff:10.1.2.3") not in parse_network("::/0")
    assert parse_address("2001:db8::1") not in parse_network("0.0.0.0/0")


def random_address(choice: random.Random) -> str:
    # Few distinct bits, so that networks of all lengths hit often.
    if choice.random() < 0.5:
        return f"10.{choice.randrange(3)}.{choice.randrange(3)}.{choice.randrange(4)}"
    return f"2001:db8:{choice.randrange(3)}::{choice.randrange(4)}"


def test_the_table_agrees_with_a_search_of_all_networks() -> None:
    choice = random.Random(4)
    table: NetworkTable[str] = NetworkTable()
    networks: set[str] = set()
    assert not table
    covered = 0
    for _ in range(3_000):
        address = random_address(choice)
        text = str(parse_network(f"{address}/{choice.randrange(20, 129 if ':' in address else 33)}"))
        if choice.random() < 0.55 and networks:
            gone = choice.choice(sorted(networks))
            table.remove(parse_network(gone))
            networks.discard(gone)
        else:
            table.put(parse_network(text), text)
            networks.add(text)
        assert bool(table) == bool(networks)
        asked = random_address(choice)
        found = list(table.covering(parse_address(asked)))
        parsed = ipaddress.ip_address(asked)
        holding = [network for network in map(ipaddress.ip_network, networks) if parsed in network]
        assert found == [str(network) for network in sorted(holding, key=lambda network: -network.prefixlen)]
        assert [parse_address(asked) in parse_network(network) for network in found] == [True] * len(found)
        covered += bool(found)
    assert covered > 100
    for text in networks:
        table.remove(parse_network(text))
        table.remove(parse_network(text))  # is not there any more
    assert not table
