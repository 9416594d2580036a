-- What persistent MQTT sessions are owed. Ids are made by the broker and never used again; times are seconds since the
-- epoch, truth values 0 or 1. No foreign keys: the broker knows what belongs together, and each check would cost a
-- search for each row that is written.

CREATE TABLE state (
  name  TEXT PRIMARY KEY,        -- alive_at: when the broker was last known to run
  value
) WITHOUT ROWID;

CREATE TABLE sessions (
  id                  INTEGER PRIMARY KEY,
  client_id           TEXT NOT NULL UNIQUE,
  username            TEXT,
  principal           TEXT,
  certificate_name    TEXT,
  peer_host           TEXT NOT NULL,
  peer_port           INTEGER NOT NULL,
  listener            TEXT NOT NULL,
  protocol_name       TEXT NOT NULL,
  protocol_version    INTEGER NOT NULL,
  keep_alive          INTEGER NOT NULL,
  clean_start         INTEGER NOT NULL,
  claimed             INTEGER NOT NULL,
  confined            INTEGER NOT NULL,
  superuser           INTEGER NOT NULL,
  expiry_interval     REAL,              -- NULL: never expires
  created_at          REAL NOT NULL,
  connected_at        REAL NOT NULL,
  disconnected_at     REAL,              -- NULL: connected
  window              INTEGER NOT NULL,  -- messages that may have been in flight at most
  sent                INTEGER NOT NULL,  -- position up to which (exclusive) was sent; holds once disconnected
  will_topic          TEXT,              -- NULL: no will
  will_payload        BLOB,
  will_qos            INTEGER,
  will_retain         INTEGER,
  will_properties     BLOB,
  will_message_expiry INTEGER,
  will_delay          INTEGER,
  will_at             REAL               -- when a delayed will is due; NULL while connected
);

CREATE TABLE subscriptions (
  session_id          INTEGER NOT NULL,
  topic_filter        TEXT NOT NULL,
  qos                 INTEGER,
  no_local            INTEGER,
  retain_as_published INTEGER,
  retain_handling     INTEGER,
  identifier          INTEGER,
  PRIMARY KEY (session_id, topic_filter)
) WITHOUT ROWID;

-- One message (count 1, body 0, id_at 0, data: its payload), or a run of `count` messages of one publisher on one topic
-- and of one size: data is as many packets of equal length, in each of which the packet identifier begins at `id_at` and
-- the payload at `body`. One row serves all sessions that are owed it. `data` stands last, so that nothing that is read
-- without it has to walk over its pages.
CREATE TABLE messages (
  id         INTEGER PRIMARY KEY,
  topic      TEXT,
  sender     TEXT,
  qos        INTEGER,
  retain     INTEGER,
  properties BLOB,
  expires_at REAL,               -- NULL: never expires
  count      INTEGER,
  body       INTEGER,
  id_at      INTEGER,
  data       BLOB
);

-- `count` consecutive messages of a row, from its `first` on, owed to a session at as many positions from `position` on.
-- The packet identifier of a position p is p % 65535 + 1. done (acknowledged, thus gone) and received (QoS 2, PUBREC
-- seen, only PUBREL is owed): little-endian bit fields over the count in their shortest form.
CREATE TABLE deliveries (
  session_id  INTEGER,
  position    INTEGER,
  message_id  INTEGER,
  first       INTEGER,
  count       INTEGER,
  qos         INTEGER,
  retain      INTEGER,
  identifiers BLOB,
  share       TEXT,              -- the whole $share/... filter; '' for none
  done        BLOB,
  received    BLOB,
  PRIMARY KEY (session_id, position)
) WITHOUT ROWID;

-- QoS 2 messages received from the client, for which no PUBREL has come yet.
CREATE TABLE unreleased (
  session_id INTEGER,
  packet_id  INTEGER,
  PRIMARY KEY (session_id, packet_id)
) WITHOUT ROWID;

CREATE TABLE retained (
  topic      TEXT PRIMARY KEY,
  payload    BLOB,
  qos        INTEGER,
  sender     TEXT,
  properties BLOB,
  expires_at REAL                -- NULL: never expires
);
