"""Takes files of any size through a door that lets only small ones pass.

python tools/pieces.py FOLDER weights

puts together what ``bundle`` wrote into FOLDER. A bundle is a compressed tar in pieces, whose names
carry its hash: ``full.3f9a0c1d2b4e.2of3``. Weights that would be too large even so travel with
eight bits a parameter, and are half-precision files again afterwards.
"""

import argparse
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save_file

PIECE_BYTES = 16 * 2**20 - 2**16
SUFFIX = ".safetensors"
EIGHT_BIT = f".int8{SUFFIX}"

_NAME = re.compile(r"(?P<name>.+)\.(?P<digest>[0-9a-f]{12})\.(?P<number>\d+)of(?P<count>\d+)")
_SCALE = ":scale"
_SMALL = 2**14  # elements of an array that stays as it is
# Small, and what decides about codes: a rounding there changes images, not only a gradient.
_EXACT = ("params.autoencoder.", "codebook.")


def bundle(
    files: Iterable[Path], out: Path, name: str, piece_bytes: int = PIECE_BYTES
) -> list[Path]:
    """Writes files as pieces into a folder, in place of an older bundle of that name.

    At any moment a whole bundle is there: the older one goes when all of the new one has come.

    Args:
      files: what to take along, by their names alone.
      out: the folder.
      name: of the bundle, letters, digits, ``-`` and ``_``.
      piece_bytes: the most that a piece may have.

    Returns:
      The pieces.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for file in files:
            tar.add(file, arcname=file.name)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:12]
    count = -(-len(data) // piece_bytes)
    pieces = [out / f"{name}.{digest}.{i + 1}of{count}" for i in range(count)]
    for i, piece in enumerate(pieces):
        coming = piece.with_name(f"{piece.name}.part")
        coming.write_bytes(data[i * piece_bytes : (i + 1) * piece_bytes])
        os.replace(coming, piece)
    for old in out.iterdir():
        found = _NAME.match(old.name)
        if found and found["name"] == name and old not in pieces:
            old.unlink()
    return pieces


def unbundle(folder: Path, out: Path) -> list[Path]:
    """Puts together the bundles of a folder.

    Args:
      folder: where ``bundle`` wrote.
      out: where the files go; those with eight bits a parameter become half-precision ones.

    Returns:
      The files.

    Raises:
      SystemExit: a piece is missing or damaged.
    """
    sets: dict[tuple[str, str, int], dict[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        if found := _NAME.fullmatch(path.name):
            key = found["name"], found["digest"], int(found["count"])
            sets.setdefault(key, {})[int(found["number"])] = path
    whole = {key for key, pieces in sets.items() if len(pieces) == key[2]}
    if lost := {name for name, *_ in sets} - {name for name, *_ in whole}:
        raise SystemExit(f"{folder}: pieces of {', '.join(sorted(lost))} are missing")
    written = []
    for key in sorted(whole):
        data = b"".join(sets[key][i + 1].read_bytes() for i in range(key[2]))
        if not hashlib.sha256(data).hexdigest().startswith(key[1]):
            raise SystemExit(f"{folder}/{key[0]}: damaged on its way; bring it again")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            out.mkdir(parents=True, exist_ok=True)
            tar.extractall(out, filter="data")
            written += [out / name for name in tar.getnames()]
    for path in [path for path in written if path.name.endswith(EIGHT_BIT)]:
        half = path.with_name(path.name.removesuffix(EIGHT_BIT) + SUFFIX)
        to_half(path, half)
        path.unlink()
        written[written.index(path)] = half
    return written


def to_eight_bit(source: Path, target: Path) -> None:
    """Writes a file of weights with eight bits for each parameter of a large kernel.

    The largest magnitude of each output channel becomes 127. The autoencoder and the codebooks stay
    as they are.
    """
    with safetensors.safe_open(source, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    written = {}
    for name, array in arrays.items():
        if name.startswith(_EXACT) or array.size < _SMALL or array.ndim < 2:
            written[name] = array
            continue
        values = array.astype(np.float32)
        largest = np.abs(values).max(axis=tuple(range(values.ndim - 1)))
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        written[name] = np.rint(values / scale).astype(np.int8)
        written[name + _SCALE] = scale
    save_file(written, target, metadata)


def to_half(source: Path, target: Path) -> None:
    """Writes what ``to_eight_bit`` wrote as a file of weights again, with float16 parameters."""
    with safetensors.safe_open(source, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    written = {}
    for name, array in arrays.items():
        if name.endswith(_SCALE):
            continue
        scale = arrays.get(name + _SCALE)
        written[name] = array if scale is None else (array * scale).astype(np.float16)
    save_file(written, target, metadata)


def main() -> None:
    """Puts together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for path in unbundle(arguments.folder, arguments.out):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
