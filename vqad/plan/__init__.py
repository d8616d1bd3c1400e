"""What a train step will need on TPUs, from its compiled program alone."""
