"""Count what the broker does for a message, in units that no other load on the machine can change.

A broker with its credential store runs on an event loop whose turns the test makes itself, and its clients are
`Connection`s with a transport that keeps what is written: no socket, no thread, no clock between a packet and what
comes of it. So calls, executed bytecode instructions and memory are the same in each run of the same Python version.
Only what runs below an entry into the broker counts; frames of this module, the transport's among them, do not.
"""

import asyncio
import dis
import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from inspect import isawaitable
from time import monotonic
from types import CodeType, FrameType
from typing import Any, TypeVar

from wardenmq.broker.broker import Broker
from wardenmq.broker.connection import Connection
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.admission import Outcome
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from . import wire, wire5
from .guarded import PLUGINS
from .wire import CONNACK, PUBLISH, SUBACK

LISTENER = "default"
USERNAME, PASSWORD = "device", "a password that is hashed slowly"
WINDOW = 100
"""Messages in flight towards a client."""
SETTINGS = MqttSettings(max_inflight=WINDOW)
RULES = [
    Rule("site/${username}/#", "allow", "all"),
    Rule("site/+/private/#", "deny", "all"),
    Rule("eq site/all", "allow", "subscribe"),
    Rule("t/#", "allow", "all"),
    Rule("#", "deny", "all"),
]
"""What an operator writes: own topics, some that nobody may have, and nothing else."""

T = TypeVar("T")
_MOST_TURNS = 100


# -- an event loop whose turns are made by hand


class Handle:
    """Stand for a callback or a timer that may be cancelled; a timer's time never comes."""

    __slots__ = ("arguments", "callback", "cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[object, ...] = ()) -> None:
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class TurnedLoop(asyncio.SelectorEventLoop):
    """An event loop like any other until it is held: then callbacks wait for `turn`, and what is made is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.enter: Callable[..., object] = _plainly
        """How callbacks and the test's clients enter the broker."""
        self.made = {"callbacks": 0, "timers": 0, "tasks": 0, "futures": 0}
        """What was made while the loop was held."""
        self.written: dict[asyncio.Transport, int] = {}
        """How often each transport was written to in the present turn."""
        self.turns = 0
        self.most_writes = 0
        """To one transport in one turn."""
        self._held = False
        self._waiting: list[Handle] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep callbacks for `turn`; all have to have had theirs in the end."""
        self._held = True
        try:
            yield
            self.settle()
        finally:
            self._held = False
            for handle in self._waiting:
                super().call_soon(handle.callback, *handle.arguments)
            self._waiting.clear()

    @property
    def waits(self) -> bool:
        """Tell whether there is something to do in the next turn."""
        return bool(self._waiting)

    def settle(self, most: int = _MOST_TURNS) -> None:
        """Make turns until nothing waits: who causes much work has the rest of it done in the next turn."""
        for _ in range(most):
            if not self._waiting:
                return
            self.turn()
        raise AssertionError("callbacks make new ones for ever")

    def turn(self) -> None:
        """Run what was waiting at the beginning of the turn."""
        self.turns += 1
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            if not handle.cancelled:
                self.enter(handle.callback, *handle.arguments)
        self.most_writes = max(self.most_writes, *self.written.values(), 0)
        self.written.clear()

    def time(self) -> float:
        return monotonic()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        if not self._held:
            return super().call_soon(callback, *args, context=context)
        self.made["callbacks"] += 1
        handle = Handle(callback, args)
        self._waiting.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        if not self._held:
            return super().call_later(delay, callback, *args, context=context)
        return self._timer(callback)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        if not self._held:
            return super().call_at(when, callback, *args, context=context)
        return self._timer(callback)

    def _timer(self, callback: Callable[..., object]) -> Handle:
        self.made["timers"] += 1
        return Handle(callback)

    def create_task(self, coro: Any, **options: Any) -> Any:
        if self._held:
            self.made["tasks"] += 1
        return super().create_task(coro, **options)

    def create_future(self) -> Any:
        if self._held:
            self.made["futures"] += 1
        return super().create_future()


def _plainly(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


# -- clients without sockets


class Wire(asyncio.Transport):
    """Keep what is written; whoever closes is told of the end in the next turn."""

    def __init__(self, loop: TurnedLoop, connection: Connection, number: int) -> None:
        super().__init__()
        self._peer = (f"10.0.0.{number % 8}", 1883)
        self._loop = loop
        self._connection = connection
        self._closing = False
        self._waiting = 0
        self._paused = False
        self.data: list[bytes] = []
        self.high_water: int | None = None
        """Bytes after which no more is wanted until they are taken; None where all leaves at once."""
        self.may_pause = False
        """Whether the broker may stop reading."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peername" else default

    def write(self, data: Any) -> None:
        written = self._loop.written
        written[self] = written.get(self, 0) + 1
        self.data.append(bytes(data))
        if self.high_water is not None:
            self._waiting += len(data)
            if self._waiting > self.high_water and not self._paused:
                self._paused = True
                self._connection.pause_writing()

    def take(self) -> bytes:
        """Read all that was written."""
        data = b"".join(self.data)
        self.data.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            self._loop.enter(self._connection.resume_writing)
        return data

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._connection.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        if not self.may_pause:
            raise AssertionError("a client is not read any more: the load is more than the broker takes at once")

    def resume_reading(self) -> None: ...


class Peer:
    """One client: send bytes, let the loop settle, take what came."""

    def __init__(self, stage: "Stage", connection: Connection, number: int) -> None:
        self._stage = stage
        self.connection = connection
        self.wire = Wire(stage.loop, connection, number)
        stage.loop.enter(connection.connection_made, self.wire)

    def send(self, data: bytes) -> None:
        self._stage.loop.enter(self.connection.data_received, data)

    def ask(self, data: bytes) -> bytes:
        """Send, let the broker work it off and take what came."""
        self.send(data)
        self._stage.loop.settle()
        return self.take()

    def take(self) -> bytes:
        return self.wire.take()

    def subscribe(self, version: int, *filters: tuple[str, int]) -> None:
        """Subscribe; every filter must be granted."""
        build = wire5.subscribe if version == 5 else wire.subscribe
        answer = self.ask(build(1, *filters))
        codes = b"".join(bytes((qos,)) for _, qos in filters)
        assert answer[0] >> 4 == SUBACK and answer.endswith(codes), answer[:20]


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give first byte and body of each packet."""
    at = 0
    while at < len(data):
        first, length, shift, at = data[at], 0, 0, at + 1
        while True:
            digit, at = data[at], at + 1
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                break
        yield first, data[at : at + length]
        at += length


def packet_ids(data: bytes) -> list[int]:
    """Give the packet identifiers of PUBLISH packets above QoS 0, or of acknowledgements."""
    found: list[int] = []
    for first, body in packets(data):
        at = 2 + int.from_bytes(body[:2], "big") if first >> 4 == PUBLISH else 0
        found.append(int.from_bytes(body[at : at + 2], "big"))
    return found


def count_publishes(data: bytes) -> int:
    return sum(first >> 4 == PUBLISH for first, _ in packets(data))


class Stage:
    """A broker as users run it, without listening sockets, and its clients."""

    def __init__(self, loop: TurnedLoop, broker: Broker, directory: Directory) -> None:
        self.loop = loop
        self.broker = broker
        self.directory = directory
        self._numbers = iter(range(1 << 16))

    def peer(self) -> Peer:
        """Open a connection on which nothing was sent yet."""
        connection = self.broker.connection_through(LISTENER)
        assert connection is not None
        return Peer(self, connection, next(self._numbers))

    def connected(self, client_id: str, version: int = 4, **fields: Any) -> Peer:
        """Open a connection whose CONNECT was accepted at once, without a thread or a task."""
        build = wire5.connect if version == 5 else wire.connect
        peer = self.peer()
        fields = {"username": USERNAME, "password": PASSWORD.encode(), **fields}
        answer = peer.ask(build(client_id, **fields))
        assert answer[0] >> 4 == CONNACK and answer[3] == 0, answer
        return peer


@asynccontextmanager
async def standing(settings: MqttSettings, rules: Sequence[Rule]) -> AsyncIterator[Stage]:
    """Run a broker with the plugins of the server, rules, and a login whose password was checked before."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnedLoop)
    directory = await Directory.open(":memory:", scram_iterations=MIN_ITERATIONS)
    try:
        await directory.create_login("username", USERNAME, PASSWORD)
        half = len(rules) // 2
        await directory.set_rules("username", USERNAME, rules[half:])
        await directory.set_rules("all", "", [*rules[:half], *RULES])
        config = {"listeners": {LISTENER: {"type": "external"}}, "plugins": {name: {} for name in PLUGINS}}
        broker = Broker(config, settings=settings, directory=directory)
        broker.settings = replace(broker.settings, shutdown_timeout=0.0)  # some clients acknowledge nothing
        await broker.start()
        # Hashed once, by a thread; the answer is remembered.
        checked = directory.authenticate("", USERNAME, PASSWORD.encode(), peer_host="10.0.0.1")
        assert isawaitable(checked)
        assert (await checked).outcome is Outcome.ACCEPTED
        try:
            yield Stage(loop, broker, directory)
        finally:
            await broker.shutdown()
    finally:
        await directory.close()


def on_stage(play: Callable[[Stage], T], settings: MqttSettings = SETTINGS, rules: Sequence[Rule] = ()) -> T:
    """Set up a broker, with these rules besides the usual ones, and let the play use it with the loop held."""

    async def run() -> T:
        async with standing(settings, rules) as stage:
            # What is there already shall not be looked through in each of many collections.
            gc.freeze()
            try:
                with stage.loop.held():
                    return play(stage)
            finally:
                gc.unfreeze()

    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        return runner.run(run())


# -- counting


@dataclass(frozen=True, slots=True)
class Round:
    """A load that may be repeated and leaves all as it was."""

    units: int
    """Messages, or whatever else it is that the cost of one is asked for."""
    run: Callable[[], int]
    """Do it once; gives the number of units that came through."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one unit costs."""

    calls: float
    """Of Python functions, generators' resumptions included."""
    c_calls: float
    """Of functions and methods in C; of types there are no events."""
    instructions: float
    """Executed instructions of bytecode."""
    allocating: float
    """Those among them that make an object or may: calls, of types too, displays, slices, iterators, functions.

    What arithmetic gives is left out, and so is what is made within C.
    """
    peak: float
    """Bytes held at the most while a round runs, what came out of it included, for each unit."""


_HERE = _plainly.__code__.co_filename


def count_calls(loop: TurnedLoop, work: Callable[[], object]) -> tuple[int, int]:
    """Count the calls of Python and of C functions."""
    calls = c_calls = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls, c_calls
        if frame.f_code.co_filename == _HERE:
            return
        if event == "call":
            calls += 1
        elif event == "c_call":
            c_calls += 1

    def enter(function: Callable[..., object], *arguments: object) -> None:
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            function(*arguments)
        finally:
            sys.setprofile(before)

    _work_through(loop, enter, work)
    return calls, c_calls


def count_instructions(loop: TurnedLoop, work: Callable[[], object]) -> tuple[int, int]:
    """Count the instructions that are executed, and those among them that allocate."""
    # Where there is `sys.monitoring`, tracing misses instructions of code that it has not seen before.
    return _monitored(loop, work) if sys.version_info >= (3, 12) else _traced_instructions(loop, work)


_ALLOCATING = {
    "BINARY_SLICE",
    "CALL",
    "CALL_FUNCTION_EX",
    "CALL_INTRINSIC_1",
    "CALL_KW",
    "DICT_MERGE",
    "DICT_UPDATE",
    "FORMAT_SIMPLE",
    "FORMAT_VALUE",
    "FORMAT_WITH_SPEC",
    "GET_ITER",
    "LIST_EXTEND",
    "LIST_TO_TUPLE",
    "MAKE_CELL",
    "MAKE_FUNCTION",
    "RETURN_GENERATOR",
    "SET_UPDATE",
    "STORE_SLICE",
    "UNPACK_EX",
}
"""By the names of 3.11 to 3.13, besides all that begin with BUILD: up to 3.11, a slice is one of these."""


def _allocating(code: CodeType) -> frozenset[int]:
    """Give the offsets of instructions that allocate."""
    return frozenset(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname in _ALLOCATING or instruction.opname.startswith("BUILD_")
    )


def _traced_instructions(loop: TurnedLoop, work: Callable[[], object]) -> tuple[int, int]:
    count = allocating = 0
    tracers: dict[int, tuple[CodeType, Callable[..., Any]]] = {}  # to hash a code object takes its time

    def tracer(code: CodeType) -> Callable[..., Any]:
        offsets = _allocating(code)

        def each(frame: FrameType, event: str, _: object) -> Any:
            nonlocal count, allocating
            if event == "opcode":
                count += 1
                if frame.f_lasti in offsets:
                    allocating += 1
            return each

        return each

    def follow(frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_filename == _HERE:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        known = tracers.get(id(code))
        if known is None:
            known = tracers[id(code)] = code, tracer(code)
        return known[1]

    def enter(function: Callable[..., object], *arguments: object) -> None:
        before = sys.gettrace()
        sys.settrace(follow)
        try:
            function(*arguments)
        finally:
            sys.settrace(before)

    _work_through(loop, enter, work)
    return count, allocating


def _monitored(loop: TurnedLoop, work: Callable[[], object]) -> tuple[int, int]:
    monitoring: Any = sys.monitoring  # pyright: ignore[reportAttributeAccessIssue]
    tool, event = monitoring.OPTIMIZER_ID, monitoring.events.INSTRUCTION
    count, allocating, inside = 0, 0, False
    tables: dict[int, tuple[CodeType, frozenset[int]]] = {}

    def each(code: CodeType, offset: int) -> None:
        nonlocal count, allocating
        if inside and code.co_filename != _HERE:
            count += 1
            known = tables.get(id(code))
            if known is None:
                known = tables[id(code)] = code, _allocating(code)
            if offset in known[1]:
                allocating += 1

    def enter(function: Callable[..., object], *arguments: object) -> None:
        nonlocal inside
        inside = True
        try:
            function(*arguments)
        finally:
            inside = False

    monitoring.use_tool_id(tool, "costs")
    monitoring.register_callback(tool, event, each)
    monitoring.set_events(tool, event)
    try:
        _work_through(loop, enter, work)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)
    return count, allocating


def _work_through(loop: TurnedLoop, enter: Callable[..., object], work: Callable[[], object]) -> None:
    before, loop.enter = loop.enter, enter
    try:
        work()
    finally:
        loop.enter = before


@contextmanager
def no_collection() -> Iterator[None]:
    """Have no garbage collection come in between."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def peak_bytes(work: Callable[[], object]) -> int:
    """Give the memory that is held at the most while something runs."""
    with no_collection(), _traced():
        work()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before


def blocks_more(work: Callable[[], object]) -> int:
    """Give how many blocks of memory are allocated more after something than before."""
    with no_collection():
        before = sys.getallocatedblocks()
        work()
        gc.collect()
        return sys.getallocatedblocks() - before


def bytes_more(work: Callable[[], object]) -> int:
    """Give how many bytes are held more after something than before."""
    with no_collection(), _traced():
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before


@contextmanager
def _traced() -> Iterator[None]:
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        yield
    finally:
        if not running:
            tracemalloc.stop()


WARM_UP = 5
"""Rounds before anything is counted, so that caches are full."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen of a load."""

    cost: Cost
    made: dict[str, int]
    """Callbacks, timers, tasks and futures of one round."""
    turns: int
    """In which one round was done."""
    most_writes: int
    """To one connection in one turn."""
    left: int
    """Blocks that several rounds left behind."""


def calls_of(loop: TurnedLoop, load: Round) -> float:
    """Count the calls of Python functions for one unit, once caches are full."""
    for _ in range(WARM_UP):
        _once(load)
    return _least(lambda: count_calls(loop, lambda: _once(load)))[0] / load.units


def instructions_of(loop: TurnedLoop, load: Round) -> tuple[float, float]:
    """Count the instructions for one unit, once caches are full, and those among them that allocate."""
    for _ in range(WARM_UP):
        _once(load)
    instructions, allocating = _least(lambda: count_instructions(loop, lambda: _once(load)))
    return instructions / load.units, allocating / load.units


def observe(loop: TurnedLoop, load: Round) -> Found:
    """Measure a load."""
    units = load.units

    def once() -> None:
        _once(load)

    def many() -> None:
        for _ in range(WARM_UP):
            once()

    many()
    calls, c_calls = _least(lambda: count_calls(loop, once))
    instructions, allocating = _least(lambda: count_instructions(loop, once))
    peak = _least(lambda: peak_bytes(once))
    left = _least(lambda: blocks_more(many))
    loop.made = dict.fromkeys(loop.made, 0)
    loop.turns = loop.most_writes = 0
    once()
    cost = Cost(calls / units, c_calls / units, instructions / units, allocating / units, peak / units)
    return Found(cost, loop.made, loop.turns, loop.most_writes, left)


def _once(load: Round) -> None:
    came = load.run()
    assert came == load.units, f"{came} of {load.units} came through"


def _least(measure: Callable[[], T]) -> T:
    """Measure twice: in one of many rounds the publisher is made to let others have their turn."""
    return min(measure(), measure())
