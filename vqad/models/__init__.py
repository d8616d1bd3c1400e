"""The networks of DSR as Flax Linen modules."""
