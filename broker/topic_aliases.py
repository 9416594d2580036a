"""Topic aliases of one connection, both ways (MQTT 5.0, 3.3.2.3.4); they end with it [MQTT-3.3.2-7]."""

from .protocol.errors import ProtocolError
from .protocol.reason_codes import ReasonCode


class IncomingAliases:
    """Know the topics that a client gave numbers to."""

    __slots__ = ("_maximum", "_topics")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        """The Topic Alias Maximum of our CONNACK."""
        self._topics: dict[int, bytes] = {}

    def resolve(self, alias: int, topic: bytes) -> bytes:
        """Return the topic of a PUBLISH with an alias: the one it names, else the one that the alias stands for.

        Raises ProtocolError.
        """
        # [MQTT-3.2.2-17], [MQTT-3.2.2-18], [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.3.2-12]
        if not 0 < alias <= self._maximum:
            raise ProtocolError(f"topic alias {alias} is not allowed", ReasonCode.TOPIC_ALIAS_INVALID)
        if topic:
            self._topics[alias] = topic
            return topic
        known = self._topics.get(alias)
        if known is None:
            raise ProtocolError(f"no topic and topic alias {alias} stands for none")
        return known


class OutgoingAliases:
    """Number the topics that are sent to a client which allows it: the first ones, until its maximum is reached."""

    __slots__ = ("_aliases", "_maximum")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        """The Topic Alias Maximum of the client's CONNECT, or less."""
        self._aliases: dict[bytes, int] = {}

    def find(self, topic: bytes) -> tuple[int, bool]:
        """Return a topic's alias, 0 for none, and whether the client knows it already and needs no topic.

        A new alias counts as known from then on, so only ask for a PUBLISH that will certainly be sent.
        """
        aliases = self._aliases
        alias = aliases.get(topic)
        if alias is not None:
            return alias, True
        if len(aliases) >= self._maximum:  # [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11]
            return 0, False
        alias = aliases[topic] = len(aliases) + 1
        return alias, False
