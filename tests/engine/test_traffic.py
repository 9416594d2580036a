"""The counts of one connection, added to those of all."""

from wardenmq.broker.traffic import Traffic


def numbered() -> Traffic:
    """Count something else with each counter."""
    traffic = Traffic()
    for number, name in enumerate(Traffic.__slots__, 1):
        counts = getattr(traffic, name)
        setattr(traffic, name, [number * 100 + place for place in range(len(counts))] if counts else number)
    return traffic


def shown(traffic: Traffic) -> dict[str, int | list[int]]:
    return {name: getattr(traffic, name) for name in Traffic.__slots__}


def test_no_counter_is_forgotten() -> None:
    total = Traffic()
    total.add(numbered())
    assert shown(total) == shown(numbered())
    total.add(numbered())
    twice = {
        name: [2 * count for count in counts] if isinstance(counts, list) else 2 * counts
        for name, counts in shown(numbered()).items()
    }
    assert shown(total) == twice


def test_a_copy_counts_on_its_own() -> None:
    traffic = numbered()
    copied = traffic.copy()
    traffic.acks_sent[4] += 1
    traffic.reads += 1
    assert shown(copied) == shown(numbered())
