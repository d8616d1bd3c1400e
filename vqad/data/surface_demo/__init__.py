"""A small data set drawn by the program from a seed: pictures of anything, and metal tiles."""
