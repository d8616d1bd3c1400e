"""A trained detector in use: loading it, thresholds, pictures in, verdicts and masks out."""
