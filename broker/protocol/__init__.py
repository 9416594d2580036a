"""Bytes to packets and back, MQTT 3.1 and 3.1.1: no I/O, no clock, no await."""
