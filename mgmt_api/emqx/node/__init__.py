"""The node: what it is, how it fares, what it counted."""
