"""Those who manage the broker: dashboard users, their sessions, API keys, the pages that describe the API."""
