"""Conformance to the standards: the lists of their normative statements, and a test for each that binds a server."""
