"""How the server proves to be the owner of its data directory, to whoever has read the lock file."""

from pathlib import Path

import pytest
from wardenmq.store.lock import DataDirectoryInUse, DataDirectoryLock, new_challenge

from .operators import Operator


async def test_the_proof_is_the_owners(operator: Operator, tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:1")
    operator.state.prove = lock.prove
    with pytest.raises(DataDirectoryInUse) as caught:
        DataDirectoryLock.acquire(tmp_path)
    challenge = new_challenge()
    reply = await operator.call("GET", f"/identity?challenge={challenge}", token=None)
    assert (reply.status, list(reply.json)) == (200, ["proof"])
    assert caught.value.owner.is_proved(challenge, reply.json["proof"])
    assert not caught.value.owner.is_proved(new_challenge(), reply.json["proof"])
    lock.release()


@pytest.mark.parametrize("challenge", ["", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "%0A", "%C3%A9" * 64])
async def test_only_challenges_of_one_form_are_answered(operator: Operator, challenge: str) -> None:
    operator.state.prove = lambda _: "proof"
    for query in ("", f"?challenge={challenge}"):
        reply = await operator.call("GET", f"/identity{query}", token=None)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_without_a_data_directory_there_is_nothing_to_prove(operator: Operator) -> None:
    reply = await operator.call("GET", f"/identity?challenge={new_challenge()}", token=None)
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
