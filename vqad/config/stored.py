"""A run's own configuration, as its workdir has it: ``--config=<this file>:<workdir>``."""

import json

from etils import epath
from ml_collections import ConfigDict

from vqad.config.base import base_config
from vqad.errors import VqadError, explained


def get_config(workdir: str) -> ConfigDict:
    """What a run was started with, and defaults of fields that came later."""
    path = epath.Path(workdir) / "config.json"
    if not path.is_file():
        raise VqadError(f"{path}: no such file; give a run's workdir, or --config and --workdir")
    config = base_config()
    with explained(path, "not a configuration", "give --config and --workdir in its place"):
        config.update(json.loads(path.read_text()))
    return config
