"""Anomalies and augmentation made on the device: pure functions of a key."""
