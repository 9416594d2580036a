"""What is stored of the configuration and cannot be used: the default holds, and the log tells no values."""

import logging

import pytest
from wardenmq.mgmt_api.configuration import Configuration, Governed
from wardenmq.mgmt_api.roots import ROOTS
from wardenmq.store.directory import Directory

from ..engine.brokers import serving


async def test_a_stored_value_that_is_no_longer_understood(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    await directory.configurations.put("rewrite", [{"action": "secret-1", "re": "secret-2"}])
    await directory.configurations.put("auto_subscribe", [{"topic": "t", "qos": 1}])
    async with serving(directory=directory) as clients:
        configuration = Configuration(Governed(clients.broker, directory), ROOTS)
        await configuration.load()
        values = {name: configuration.as_json(root) for name, root in configuration.roots.items() if name in NAMES}
        assert values["rewrite"] == []
        assert values["auto_subscribe"][0]["topic"] == "t"
        assert [wanted.topic for wanted in clients.broker.auto_subscribe.wanted] == ["t"]
    (line,) = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert line.startswith("The stored configuration of rewrite is not used; wrong is 0.action, ")
    assert "secret" not in caplog.text


NAMES = {"rewrite", "auto_subscribe"}
