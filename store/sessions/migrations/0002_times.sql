-- When messages were published, in seconds since the epoch; 0: before this was noted. In `messages` it stands behind the
-- data, and is read only together with it.
ALTER TABLE messages ADD COLUMN published_at REAL DEFAULT 0.0;
ALTER TABLE retained ADD COLUMN published_at REAL DEFAULT 0.0;

-- The filter that the client asked for, where that was rewritten; else ''. NULL where the server subscribed the client.
ALTER TABLE subscriptions ADD COLUMN asked TEXT DEFAULT '';

-- What the token says that the client came with, as JSON; NULL without a token.
ALTER TABLE sessions ADD COLUMN rights TEXT;

-- Messages that wait to be published: on $delayed/... topics, here under the real one. `delay` are the seconds that were
-- asked for.
CREATE TABLE delayed (
  id           INTEGER PRIMARY KEY,
  due          REAL,
  delay        REAL,
  topic        TEXT,
  payload      BLOB,
  qos          INTEGER,
  retain       INTEGER,
  sender       TEXT,
  properties   BLOB,
  expires_at   REAL,              -- NULL: never expires
  published_at REAL
);
