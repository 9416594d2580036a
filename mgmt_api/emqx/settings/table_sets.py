"""The names of what a backup holds, and how large its parts may be."""

EDITION = "wardenmq"
FORMAT = 1

BANNED = "banned"
LOGINS = "builtin_authn"
RULES = "builtin_authz"
RETAINED = "builtin_retainer"
API_KEYS = "api_keys"
DASHBOARD_USERS = "dashboard_users"
PSK = "psk"
TABLE_SETS = (BANNED, LOGINS, RULES, RETAINED, API_KEYS, DASHBOARD_USERS, PSK)
"""EMQX's names; there are no pre-shared keys here, so that of the last one nothing is written."""

META_NAME = "META.hocon"
CONFIGURATION_NAME = "cluster.hocon"
TABLE_FOLDER = "mnesia"

MAX_META = 65_536
MAX_CONFIGURATION = 16 << 20
MAX_TABLE = 1 << 30
MAX_UNPACKED = 4 << 30
MAX_MEMBERS = 1_000
MAX_LINE = 1 << 20
"""Bytes of a row. A topic or a name has 65,535 at most."""
