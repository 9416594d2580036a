"""The operator's own API: users, roles, groups, rules, bans and the audit log as the store has them.

It is what the command line speaks, over HTTP where a server runs and without a socket where none does.
"""
