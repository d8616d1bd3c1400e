"""Whether TFDS can be used here: folders of pictures are read without it."""

import importlib

from vqad.errors import VqadError

NEEDED = ("tensorflow_datasets", "array_record")


def check_tfds_installed(what: str) -> None:
    """Refuses what needs TFDS where that, or the files that it writes, cannot be read.

    Args:
      what: what needs it, for the message.

    Raises:
      VqadError: a package is not installed, or there is none for this system.
    """
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = module.replace("_", "-")
            raise VqadError(
                f"{what}: needs {package}, which cannot be imported ({error}); pip install "
                f"{package} (Linux and macOS), or give a folder of pictures, which needs none"
            ) from error
