"""The configuration of a run: its fields, the paper's values, and what may stand in them."""

from vqad.config.base import base_config, model_from_config, where_data_is
from vqad.config.check import build_model, validate, validate_values

__all__ = [
    "base_config",
    "build_model",
    "model_from_config",
    "validate",
    "validate_values",
    "where_data_is",
]
