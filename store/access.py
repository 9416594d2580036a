"""What one client may do: its layers of compiled rules, and the default after them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..broker.routing.topics import InvalidTopic, split_share
from .acl import Policy, Texts
from .records import SUBSCRIBE


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """Hold the layers of one client as of one generation of the directory."""

    generation: int
    layers: Sequence[tuple[Policy, Texts]]
    """In the order in which they are asked: client id, user name, all. The first that has an answer decides."""
    defaults: Mapping[int, bool]
    checks_delivery: bool
    """Whether a layer may hide deliveries, so that each must be checked (RECEIVE)."""

    def decide(self, operation: int, topic: str, qos: int, retain: bool) -> bool:
        """Answer PUBLISH or RECEIVE for a topic name, SUBSCRIBE for a topic filter, shared or not."""
        if operation == SUBSCRIBE:
            try:
                topic = split_share(topic)[1]  # `$share/g/f` is a subscription to f
            except InvalidTopic:
                return False
        for policy, texts in self.layers:
            decision = policy.decide(operation, topic, qos, retain, texts)
            if decision is not None:
                return decision
        return self.defaults[operation]
