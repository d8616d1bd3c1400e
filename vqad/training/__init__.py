"""Losses, stages, one train step, one loop."""
