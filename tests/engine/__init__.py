"""Conformance of the running broker to MQTT 3.1.1, over real sockets."""
