-- Roles and groups, bans, add-ons, and what an integration's keys may read. All times: microseconds since the epoch, UTC.

CREATE TABLE tenant_addon (
  tenant_id  TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
  addon      TEXT NOT NULL CHECK (addon IN ('rest_api_history','rest_api_live','rest_api_mgmt')),
  enabled_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, addon)
) WITHOUT ROWID;

CREATE TABLE role (
  id                  TEXT PRIMARY KEY,
  name                TEXT NOT NULL UNIQUE,
  text_name           TEXT NOT NULL DEFAULT '',
  text_description    TEXT NOT NULL DEFAULT '',
  allow_wildcard_subs INTEGER NOT NULL DEFAULT 1,
  created_at          INTEGER NOT NULL,
  updated_at          INTEGER NOT NULL
);
CREATE TABLE grp (
  id               TEXT PRIMARY KEY,
  name             TEXT NOT NULL UNIQUE,
  text_name        TEXT NOT NULL DEFAULT '',
  text_description TEXT NOT NULL DEFAULT '',
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL
);
CREATE TABLE principal_role (
  principal_id TEXT NOT NULL REFERENCES principal(id) ON DELETE CASCADE,
  role_id      TEXT NOT NULL REFERENCES role(id) ON DELETE CASCADE,
  priority     INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (principal_id, role_id)
) WITHOUT ROWID;
CREATE TABLE group_member (
  group_id     TEXT NOT NULL REFERENCES grp(id) ON DELETE CASCADE,
  principal_id TEXT NOT NULL REFERENCES principal(id) ON DELETE CASCADE,
  priority     INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (group_id, principal_id)
) WITHOUT ROWID;
CREATE TABLE group_role (
  group_id TEXT NOT NULL REFERENCES grp(id) ON DELETE CASCADE,
  role_id  TEXT NOT NULL REFERENCES role(id) ON DELETE CASCADE,
  priority INTEGER NOT NULL DEFAULT -1,
  PRIMARY KEY (group_id, role_id)
) WITHOUT ROWID;
-- Without these the end of a principal or of a role would read the whole table.
CREATE INDEX principal_role_role ON principal_role(role_id);
CREATE INDEX group_member_principal ON group_member(principal_id);
CREATE INDEX group_role_role ON group_role(role_id);
CREATE INDEX credential_principal ON credential(principal_id);
CREATE INDEX principal_parent ON principal(parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE ban (
  who_type TEXT NOT NULL CHECK (who_type IN ('clientid','username','peerhost','clientid_re','username_re','peerhost_net')),
  who      TEXT NOT NULL,
  by       TEXT NOT NULL DEFAULT '',
  reason   TEXT NOT NULL DEFAULT '',
  at       INTEGER NOT NULL,
  until    INTEGER,                                -- NULL: for ever
  PRIMARY KEY (who_type, who)
) WITHOUT ROWID;

CREATE TABLE org_role (
  principal_id TEXT NOT NULL REFERENCES principal(id) ON DELETE CASCADE,
  role_name    TEXT NOT NULL CHECK (role_name IN ('OrganizationManager','SpaceDesigner','AssetInstaller','DataViewer',
                                                  'MqttIntegrator')),
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (principal_id, role_name)
) WITHOUT ROWID;
CREATE TABLE integration (
  id          TEXT PRIMARY KEY,
  tenant_id   TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
  description TEXT NOT NULL DEFAULT '',
  state       TEXT NOT NULL CHECK (state IN ('active','inactive')),
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL
);
CREATE INDEX integration_tenant ON integration(tenant_id);
CREATE TABLE integration_key (
  integration_id TEXT NOT NULL REFERENCES integration(id) ON DELETE CASCADE,
  principal_id   TEXT NOT NULL REFERENCES principal(id) ON DELETE CASCADE,
  created_at     INTEGER NOT NULL,
  PRIMARY KEY (integration_id, principal_id)
) WITHOUT ROWID;
CREATE INDEX integration_key_principal ON integration_key(principal_id);

CREATE INDEX audit_log_at ON audit_log(at);

-- A client id that is a login belongs to it: its password would protect nothing if others could connect under it. Where
-- it is reserved for another one already, it stays there.
UPDATE principal SET clientid = login, clientid_mode = 'reserved'
WHERE login_type = 'clientid' AND login_scope = '' AND clientid IS NULL AND NOT EXISTS (
  SELECT 1 FROM principal AS owner WHERE owner.clientid = principal.login AND owner.clientid_mode = 'reserved');
