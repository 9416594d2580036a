-- Principals, their secrets, the rules and the audit log. All times: microseconds since the epoch, UTC.

CREATE TABLE tenant (
  id            TEXT PRIMARY KEY,                 -- uuid
  name          TEXT NOT NULL UNIQUE,             -- login name of the organization; 'default' for operator objects
  display_name  TEXT NOT NULL DEFAULT '',
  enabled       INTEGER NOT NULL DEFAULT 1,
  limits        TEXT NOT NULL DEFAULT '{}',
  retention_days INTEGER NOT NULL DEFAULT 30,
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL
);

CREATE TABLE principal (
  id            TEXT PRIMARY KEY,                 -- uuid
  tenant_id     TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
  kind          TEXT NOT NULL CHECK (kind IN ('mqtt_client','portal_publisher','portal_subscriber','haltian_key',
                                              'human','rest_token','platform_token','emqx_api_key','bunkerm_key')),
  login_type    TEXT CHECK (login_type IN ('username','clientid','email')),  -- NULL: reached by token digest or key id only
  login         TEXT,
  login_scope   TEXT NOT NULL DEFAULT '',         -- '' = broker-wide (MQTT logins); 'dashboard'; tenant id for e-mail logins
  clientid      TEXT,
  clientid_mode TEXT NOT NULL DEFAULT 'any' CHECK (clientid_mode IN ('any','reserved','required','per_connection')),
  label         TEXT NOT NULL DEFAULT '',         -- key name
  description   TEXT NOT NULL DEFAULT '',
  disabled_at   INTEGER,                          -- operator's switch
  paused_at     INTEGER,                          -- owner's switch; effective = both NULL
  expires_at    INTEGER,
  superuser     INTEGER NOT NULL DEFAULT 0,
  confined      INTEGER NOT NULL DEFAULT 0,       -- 1: never falls through to 'all' rules or default access
  can_publish   INTEGER NOT NULL DEFAULT 1,
  can_subscribe INTEGER NOT NULL DEFAULT 1,
  http_role     TEXT,                             -- administrator|viewer|publisher
  attrs         TEXT NOT NULL DEFAULT '{}',
  parent_id     TEXT REFERENCES principal(id) ON DELETE CASCADE,
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL
);
CREATE UNIQUE INDEX principal_login ON principal(login_type, login_scope, login) WHERE login IS NOT NULL;
CREATE UNIQUE INDEX principal_reserved_clientid ON principal(clientid)
  WHERE clientid IS NOT NULL AND clientid_mode = 'reserved';
CREATE INDEX principal_tenant_kind ON principal(tenant_id, kind, created_at);

CREATE TABLE credential (
  id           TEXT PRIMARY KEY,
  principal_id TEXT NOT NULL REFERENCES principal(id) ON DELETE CASCADE,
  kind         TEXT NOT NULL CHECK (kind IN ('password','token','api_secret','jwt','refresh')),
  public_id    TEXT,                              -- the api_key string
  algo         TEXT NOT NULL,                     -- argon2id | sha256-token | sha256
  secret_hash  BLOB NOT NULL,
  salt         BLOB NOT NULL DEFAULT x'',
  params       TEXT NOT NULL DEFAULT '{}',
  hint         TEXT NOT NULL DEFAULT '',          -- safe to display
  issued_at    INTEGER NOT NULL,
  expires_at   INTEGER,
  revoked_at   INTEGER,
  last_used_at INTEGER
);
CREATE UNIQUE INDEX credential_digest ON credential(secret_hash) WHERE algo = 'sha256-token';
CREATE UNIQUE INDEX credential_public ON credential(kind, public_id) WHERE public_id IS NOT NULL;
CREATE UNIQUE INDEX credential_one_active ON credential(principal_id, kind)
  WHERE revoked_at IS NULL AND kind IN ('password','jwt','api_secret','token');

CREATE TABLE acl_rule (
  id           INTEGER PRIMARY KEY,               -- also the tie-break: older first
  subject_type TEXT NOT NULL CHECK (subject_type IN ('clientid','username','role','all')),
  subject      TEXT NOT NULL DEFAULT '',          -- the text of the clientid or username, a role id, '' for all
  ord          INTEGER NOT NULL,                  -- ascending: list index
  ops          INTEGER NOT NULL CHECK (ops BETWEEN 1 AND 15),   -- 1 publish, 2 receive, 4 subscribe, 8 unsubscribe
  match        TEXT NOT NULL CHECK (match IN ('pattern','literal')),
  allow        INTEGER NOT NULL CHECK (allow IN (0,1)),
  topic        TEXT NOT NULL,
  qos_mask     INTEGER NOT NULL DEFAULT 7,
  retain       INTEGER,                           -- NULL any, 0, 1
  cond         TEXT
);
CREATE INDEX acl_rule_subject ON acl_rule(subject_type, subject, ord, id);
CREATE UNIQUE INDEX acl_role_unique ON acl_rule(subject, ops, match, topic) WHERE subject_type = 'role';

CREATE TABLE acl_subject (                         -- a subject can exist with an empty rule list
  subject_type TEXT NOT NULL CHECK (subject_type IN ('clientid','username','all')), subject TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (subject_type, subject)) WITHOUT ROWID;
CREATE TABLE default_access (op TEXT PRIMARY KEY CHECK (op IN ('publish','receive','subscribe','unsubscribe')),
  allow INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE audit_log (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, facade TEXT NOT NULL,
  action TEXT NOT NULL, target TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '{}');

INSERT INTO default_access (op, allow) VALUES ('publish', 0), ('receive', 1), ('subscribe', 0), ('unsubscribe', 1);
INSERT INTO tenant (id, name, created_at, updated_at) VALUES (
  lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'
        || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
  'default', strftime('%s', 'now') * 1000000, strftime('%s', 'now') * 1000000);
