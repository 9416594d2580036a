"""The command line. What a command needs is imported when it runs, so that `--help` stays quick."""

from .application import app, main

__all__ = ["app", "main"]
