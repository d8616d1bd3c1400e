"""The API reference, generated from the docstrings by pdoc: HTML pages, one a module.

pip install '.[docs]'
python docs/make_api.py build/api
"""

import argparse
import importlib
import os
import pkgutil
from collections.abc import Sequence
from pathlib import Path

PACKAGES = (
    "models",
    "kernels",
    "anomalies",
    "stages",
    "training",
    "checkpoints",
    "config",
    "data",
    "prediction",
    "evaluation",
    "interop",
    "plan",
    "run",
)
TEMPLATES = Path(__file__).parent / "pdoc"
# Subcommands, whose reference is their --help, and the page that `vqad report` writes.
LEFT_OUT = (r"!vqad\.commands", r"!vqad\.report")


def build(folder: Path) -> list[Path]:
    """Writes the reference.

    Args:
      folder: where to; made if it is not there.

    Returns:
      The modules' pages.
    """
    import pdoc

    import vqad

    for name in vqad.__all__:  # imported when asked for, and pdoc does not ask
        setattr(vqad, name, getattr(vqad, name))
    pdoc.render.configure(
        docformat="google",
        footer_text=f"vqad {vqad.__version__}",
        show_source=False,
        template_directory=TEMPLATES,
    )
    # A package's __all__ hides its modules, which are named with it therefore.
    names = [f"vqad.{package}" for package in PACKAGES]
    names += [
        f"{name}.{module.name}"
        for name in names
        if hasattr(importlib.import_module(name), "__all__")
        for module in pkgutil.iter_modules([Path(vqad.__file__).parent / name.split(".")[1]])
    ]
    pdoc.pdoc("vqad", "vqad.errors", *names, *LEFT_OUT, output_directory=folder)
    return [*sorted(folder.glob("vqad/**/*.html")), folder / "vqad.html"]


def main(argv: Sequence[str] | None = None) -> None:
    """Builds the reference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the folder to write to")
    args = parser.parse_args(argv)
    pages = build(args.out)
    print(f"{len(pages)} modules; open {args.out / 'index.html'}")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
