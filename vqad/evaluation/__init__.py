"""Metrics, evaluating a test split, pictures of what was found."""
