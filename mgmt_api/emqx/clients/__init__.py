"""Clients, their subscriptions and queues, and messages published over HTTP."""
