"""One trainer, one train step, one loop for all stages."""
