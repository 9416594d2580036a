"""The chain of authenticators: by what a connecting client may prove who it is, in which order."""
