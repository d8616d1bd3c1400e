"""Anomalies made on the device: pure functions of a key."""
