"""What a write leaves of the access that was computed before it."""

from wardenmq.store.directory import Directory
from wardenmq.store.records import PUBLISH

from .layered import allow, deny


async def test_a_write_drops_only_what_was_compiled_from_it(directory: Directory) -> None:
    await directory.set_rules("username", "alice", [allow("a")])
    await directory.set_rules("username", "bob", [allow("b")])
    before = {name: directory.access("c1", name) for name in ("alice", "bob")}
    generation = directory.generation
    await directory.set_rules("username", "bob", [deny("b")])
    after = {name: directory.access("c1", name) for name in ("alice", "bob")}
    assert directory.generation == generation + 1 == after["alice"].generation
    assert after["alice"].layers[0].policy is before["alice"].layers[0].policy
    assert not after["bob"].decide(PUBLISH, "b", 0, False)
