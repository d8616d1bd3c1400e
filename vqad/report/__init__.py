"""The evaluation as one HTML page: figures, curves, a threshold to move, all images to look at."""
