"""A disk that fails, fills up or is slow, and what the server makes of it."""
