-- One row for each interval of ten seconds in which the broker ran. `time` is the end of the interval, in seconds since
-- the epoch; sizes are those at that time, the other numbers what was counted during the interval.
CREATE TABLE monitor_sample (
  time INTEGER PRIMARY KEY,
  connections INTEGER NOT NULL,
  live_connections INTEGER NOT NULL,
  topics INTEGER NOT NULL,
  subscriptions INTEGER NOT NULL,
  subscriptions_durable INTEGER NOT NULL,
  disconnected_durable_sessions INTEGER NOT NULL,
  received INTEGER NOT NULL,
  sent INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  persisted INTEGER NOT NULL,
  validation_succeeded INTEGER NOT NULL,
  validation_failed INTEGER NOT NULL,
  transformation_succeeded INTEGER NOT NULL,
  transformation_failed INTEGER NOT NULL
);
