"""Metrics, judging a test split, pictures of what was found."""
