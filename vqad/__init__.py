"""vqad: finding defects on surfaces with DSR, the dual subspace re-projection network, in JAX."""

__version__ = "0.1.0"
