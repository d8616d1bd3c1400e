"""Weights in from other programs."""
