"""The part of the route table about what is done with messages beside routing them."""

from typing import Any

from ...routes import Route
from .table_delayed import DELAYED
from .table_retainer import RETAINER
from .table_slow_subscriptions import SLOW_SUBSCRIPTIONS
from .table_topics import TOPICS

MESSAGING: tuple[Route[Any, Any], ...] = (*DELAYED, *RETAINER, *TOPICS, *SLOW_SUBSCRIPTIONS)
