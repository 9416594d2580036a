"""Tests of the journal against a store in memory whose commits the tests decide on."""
