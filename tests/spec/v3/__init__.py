"""Conformance to MQTT 3.1.1 and 3.1; ids here are those of 3.1.1."""
