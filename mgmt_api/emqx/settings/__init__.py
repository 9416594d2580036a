"""The configuration that can be changed while the broker runs, its listeners, and its export."""
