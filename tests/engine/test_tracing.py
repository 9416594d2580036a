"""How packets are described, and how the thread that writes traces bounds what waits for it."""

from base64 import urlsafe_b64encode
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.tracing import log as log_module
from wardenmq.broker.tracing.definition import PayloadEncode, Trace
from wardenmq.broker.tracing.lines import Happening, render
from wardenmq.broker.tracing.log import LogWriter, TraceLog, file_name
from wardenmq.broker.tracing.packets import describe, describe_packets, printable, show_payload
from wardenmq.broker.tracing.watching import peer_of, plain_address

from . import wire
from .conditions import until

TRACE = Trace("t", "clientid", "dev", 0, 10)


def shown(data: bytes, version: int = 4, encode: PayloadEncode = "text") -> list[str]:
    return list(describe_packets(data, version, encode))


class TestPackets:
    def test_several_in_one_piece(self) -> None:
        data = wire.publish("t", b"a") + wire.PING + wire.acknowledge(wire.PUBACK, 7)
        assert shown(data) == [
            "PUBLISH(Q0, R0, D0, Topic=t, Payload=a)",
            "PINGREQ(Q0, R0, D0)",
            "PUBACK(Q0, R0, D0, PacketId=7, ReasonCode=0)",
        ]

    def test_flags(self) -> None:
        data = wire.publish("t", b"", 2, 5, retain=True, dup=True)
        assert shown(data) == ["PUBLISH(Q2, R1, D1, Topic=t, PacketId=5, Payload=)"]

    @pytest.mark.parametrize("encode", ["text", "hex", "hidden"])
    def test_no_password_and_no_authentication_data(self, encode: PayloadEncode) -> None:
        connect = wire.connect("dev", username="u", password=b"secret")
        [text] = shown(connect, encode=encode)
        assert "Password=******" in text
        assert "secret" not in text
        assert b"secret".hex().upper() not in text
        properties = b"\x15\x00\x01m\x16\x00\x06secret"
        auth = bytes((0xF0, len(properties) + 2, 0x18, len(properties))) + properties
        [text] = shown(auth, 5, encode)
        assert "Authentication-Method: m, Authentication-Data: ******" in text
        assert "secret" not in text

    @pytest.mark.parametrize("head", ['{"alg":"HS256","typ":"JWT"}', ' \n{"alg":"none"}'])
    def test_no_token_in_the_place_of_a_user_name(self, head: str) -> None:
        token = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (head.encode(), b"{}", b"signature"))
        for username in (token, f" {token}\n", token.rpartition(".")[0] + "."):
            [text] = shown(wire.connect("dev", username=username))
            assert "Username=******" in text
            event = Happening(0, "AUTHN", "result", "dev", username, "p")
            lines = [*render(event, "json", "text"), *render(event, "text", "text")]
            assert "******" in lines[0]
            assert token[:8] not in "".join((text, *lines))

    @pytest.mark.parametrize("username", ["alice", "www.example.org", "ICU.ward.7", "..", "a.b.c", "\n.x.y"])
    def test_names_are_shown(self, username: str) -> None:
        [text] = shown(wire.connect("dev", username=username))
        assert f"Username={printable(username)}" in text

    def test_hidden_payloads_hide_what_belongs_to_them(self) -> None:
        properties = b"\x26\x00\x01k\x00\x05value\x09\x00\x04corr\x01\x01"
        body = b"\x00\x01t" + bytes((len(properties),)) + properties + b"payload"
        [text] = shown(bytes((0x30, len(body))) + body, 5, "hidden")
        assert not {"value", "corr", "payload"} & set(text.replace("=", " ").replace(",", " ").split())
        assert text.count("******") == 3
        assert "Payload-Format-Indicator: 1" in text
        connect = wire.connect("dev", will=wire.Will("w", b"last words"))
        assert "Will(Q0, R0, Topic=w, Payload=******)" in shown(connect, encode="hidden")[0]

    def test_what_cannot_be_read(self) -> None:
        assert describe(0x20, b"", 4, "text") == "CONNACK(Q0, R0, D0, malformed, 0 bytes)"
        assert describe(0x00, b"x", 4, "text") == "RESERVED(Q0, R0, D0)"

    @given(first=st.integers(0, 255), body=st.binary(max_size=60), version=st.sampled_from((3, 4, 5)))
    def test_anything_makes_one_line(self, first: int, body: bytes, version: int) -> None:
        text = describe(first, body, version, "text")
        assert text.isprintable()

    @given(st.text())
    def test_printable_text(self, text: str) -> None:
        assert printable(text).isprintable()
        if text.isprintable():
            assert printable(text) == text

    def test_long_ones_are_cut(self) -> None:
        assert printable("x" * 2_000) == "x" * 1_024 + "...(2000 characters)"
        assert show_payload(b"\xab" * 2_000, "hex") == "AB" * 1_024 + "...(2000 bytes)"

    @given(st.text(), st.text(), st.binary())
    def test_an_event_is_one_line_of_each_form(self, client_id: str, detail: str, payload: bytes) -> None:
        event = Happening(1.5, "TAG", "something", client_id, client_id, "p", {"key": detail}, payload=payload)
        for formatter in ("text", "json"):
            [line] = render(event, formatter, "text")
            assert line.endswith("\n")
            assert line[:-1].isprintable()


class TestWriting:
    def test_file_names(self) -> None:
        names = ["a", "A", "a" * 256, "a" * 255 + "b"]
        assert len({file_name(name).lower() for name in names}) == len(names)
        assert max(len(file_name(name)) for name in names) < 100

    async def test_what_is_too_much_is_dropped_and_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the disk does not take more, what waits is bounded in number and in bytes."""
        monkeypatch.setattr(log_module, "MAX_WAITING", 10)
        free, writer = Event(), LogWriter()
        log = TraceLog(TRACE, tmp_path / "t.log", 1_000_000)
        write = log.write
        entered: list[Happening] = []

        def slowly(event: Happening) -> None:
            entered.append(event)
            free.wait(30)
            write(event)

        monkeypatch.setattr(log, "write", slowly)
        writer.start()
        writer.put((log,), Happening(0, "T", "first"))
        await until(lambda: len(entered) == 1)
        for _ in range(25):
            writer.put((log,), Happening(0, "T", "event"))
        assert log.dropped == 15
        monkeypatch.setattr(log_module, "MAX_WAITING", 1_000)
        writer.put((log,), Happening(0, "T", "large", packets=bytes(log_module.MAX_WAITING_BYTES)))
        assert log.dropped == 16
        assert not writer.settled
        free.set()
        writer.settle()
        assert writer.settled
        writer.stop()
        writer.stop()
        log.close()
        lines = (tmp_path / "t.log").read_text().splitlines()
        assert sum(line.endswith("msg: event") for line in lines) == 10
        assert [line for line in lines if "[TRACE] @ msg: events_dropped, count: 16" in line]

    def test_it_begins_again(self, tmp_path: Path) -> None:
        writer = LogWriter()
        log = TraceLog(TRACE, tmp_path / "t.log", 1_000_000)
        for _ in range(3):
            writer.start()
            writer.put((log,), Happening(0, "T", "event"))
            writer.stop()
        log.close()
        log.write(Happening(0, "T", "late"))
        assert (tmp_path / "t.log").read_text().count("event") == 3
        assert "late" not in (tmp_path / "t.log").read_text()

    def test_a_file_that_cannot_be_written(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "elsewhere").touch()
        (tmp_path / "t.log").symlink_to(tmp_path / "elsewhere")
        log = TraceLog(TRACE, tmp_path / "t.log", 1_000_000)
        with pytest.raises(OSError):
            log.open()
        log.write(Happening(0, "T", "event"))
        assert log.full
        assert "cannot be written" in caplog.text
        assert (tmp_path / "elsewhere").read_text() == ""


def test_addresses() -> None:
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("2001:DB8::0:1") == "2001:db8::1"
    assert plain_address("fe80::1%eth0") == "fe80::1%eth0"
    assert plain_address("unix:/run/x") == "unix:/run/x"
    assert peer_of("::1", 5) == "[::1]:5"
    assert peer_of("192.0.2.1", 5) == "192.0.2.1:5"
