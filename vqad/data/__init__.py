"""Where images come from: folders, TFDS builders, one Grain pipeline."""
