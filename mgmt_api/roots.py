"""All roots of the configuration that the API can change, in the order in which they are put in force at the start."""

from typing import Any

from .configuration import Root
from .emqx.access.authentication_root import AUTHENTICATION
from .emqx.access.authorization_root import AUTHORIZATION
from .emqx.dashboard.api_key_settings import API_KEY
from .emqx.dashboard.dashboard_settings import DASHBOARD
from .emqx.messaging.auto_subscribe import AUTO_SUBSCRIBE
from .emqx.messaging.delayed import DELAYED
from .emqx.messaging.retainer import RETAINER
from .emqx.messaging.slow_subscriptions import SLOW_SUBS
from .emqx.messaging.topic_metrics import TOPIC_METRICS
from .emqx.messaging.topic_rewrite import REWRITE
from .emqx.node.alarm_settings import ALARM
from .emqx.node.prometheus_settings import PROMETHEUS
from .emqx.node.sys_topics import SYS_TOPICS
from .emqx.node.sysmon import SYSMON
from .emqx.settings.flapping_root import FLAPPING_DETECT
from .emqx.settings.listeners import LISTENERS
from .emqx.settings.log_root import LOG
from .emqx.settings.mqtt_root import BROKER, DURABLE_SESSIONS, FORCE_GC, FORCE_SHUTDOWN, MQTT

ROOTS: tuple[Root[Any], ...] = (
    AUTHORIZATION,
    LOG,
    MQTT,
    FLAPPING_DETECT,
    FORCE_SHUTDOWN,
    FORCE_GC,
    DURABLE_SESSIONS,
    BROKER,
    LISTENERS,
    DASHBOARD,
    API_KEY,
    AUTHENTICATION,
    RETAINER,
    DELAYED,
    REWRITE,
    AUTO_SUBSCRIBE,
    TOPIC_METRICS,
    SLOW_SUBS,
    ALARM,
    SYSMON,
    SYS_TOPICS,
    PROMETHEUS,
)
