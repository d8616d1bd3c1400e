"""Reads one checkpoint, as if a stranger had written it: whole and unchanged, or not at all."""

import contextlib
import errno
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import SingleDeviceSharding

from vqad.checkpoints.digest import digest
from vqad.errors import VqadError, machine_fault, reason
from vqad.paths import absolute, links_below, names_below, odd_files, size_and_time

_SMALL = 2**26  # bytes that arrays may have however small their files are
# A disk that cannot read a place (EIO) is not among them: the checkpoint before it can be used.
_OF_THE_SYSTEM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EAGAIN}
_PASSING = (MemoryError, PermissionError, ConnectionError, TimeoutError, ImportError)
_OF_A_BUCKET = {401, 403, 408, 429, 500, 502, 503, 504}  # of HTTP
_STATUS = re.compile(  # of TensorStore
    "(ABORTED|CANCELLED|DEADLINE_EXCEEDED|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAUTHENTICATED"
    "|UNAVAILABLE): "
)


class DamagedCheckpoint(VqadError):
    """A checkpoint that was written whole and cannot be read, or holds other bits than were."""


def load_item(path: str, step: int, item: str, target: Any = None) -> tuple[Any, dict]:
    """Loads ``variables`` or ``training`` of a checkpoint, checked by its digest, and the metadata.

    The item is of NumPy's arrays, in the containers of ``target``, or in dicts and lists. Raises
    DamagedCheckpoint if it cannot be read, or holds other bits than were written, VqadError if the
    system cannot read it now.
    """
    with _read(path, step) as folder:
        files = (folder / name for name in names_below(folder))
        stored_bytes = sum(size_and_time(file)[0] for file in files if file.exists())
        metadata = _metadata(folder)
        # Each process reads by itself, and waits for no other.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"process_{jax.process_index()}",
        )
        handler = ocp.StandardCheckpointHandler()
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            stored = handler.metadata(folder / item).tree
            _check_size(stored, stored_bytes)
            # Into the host's memory, whatever devices wrote it: one may hold a part of it only.
            here = SingleDeviceSharding(_host())
            target = jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here),
                stored if target is None else target,
            )
            args = ocp.args.StandardRestore(target)
            tree = jax.device_get(reader.restore(folder / item, args=args))
        digests = metadata.pop("digests", {})
        # Imported weights from before there were digests have none.
        if digests or "fixed" in metadata:
            if "training" in digests and not (folder / "training").exists():
                raise ValueError("its folder training is gone")
            for name, found in ((item, digest(tree)), ("metadata", json_digest(metadata))):
                if digests.get(name) != found:
                    raise ValueError(f"its {name} are not those that were written")
        if item == "variables":
            _check_collections(tree)
    return tree, metadata


def _host() -> jax.Device:
    """The host as a device, or the first other one where ``JAX_PLATFORMS`` leaves the host out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


def load_description(path: str, step: int) -> dict:
    """Loads only the metadata of a checkpoint; raises as ``load_item`` does."""
    with _read(path, step) as folder:
        return _metadata(folder)


def json_digest(metadata: Mapping[str, Any]) -> int:
    """Digests metadata."""
    return zlib.crc32(json.dumps(metadata, sort_keys=True).encode())


def _metadata(folder: epath.Path) -> dict:
    metadata = json.loads((folder / "metadata" / "metadata").read_text())
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are not a JSON object")
    for name in ("model", "fixed", "digests", "config"):
        if not isinstance(metadata.get(name, {}), dict):
            raise ValueError(f"{name} in its metadata is not a JSON object")
    return metadata


def _check_size(arrays: Any, stored: int) -> None:
    """Refuses arrays that the files cannot hold: weights do not compress a hundredfold."""
    claimed = 0
    for array in jax.tree.leaves(arrays):
        # What is read at once may be larger than the array.
        shapes = [array.shape, getattr(array.storage, "chunk_shape", None) or ()]
        claimed += max(math.prod(shape) for shape in shapes) * array.dtype.itemsize
    if claimed > _SMALL + 100 * stored:
        raise ValueError(f"its arrays are said to have {claimed:,} bytes, its files {stored:,}")


def _check_collections(variables: Any) -> None:
    """Refuses what is not ``{collection: {module: {name: ...}}}`` with both collections."""
    for collection in ("params", "codebook"):
        modules = variables.get(collection) if isinstance(variables, dict) else None
        if not isinstance(modules, dict) or not all(isinstance(m, dict) for m in modules.values()):
            raise ValueError(f"its variables hold no {collection} by modules")


@contextlib.contextmanager
def _read(path: str, step: int) -> Iterator[epath.Path]:
    """Names a checkpoint's folder; what a failed read of it raises becomes one line."""
    folder = absolute(path) / str(step)
    try:
        for link in links_below(folder):  # two to "." would be read as 2^40 folders
            raise ValueError(f"{link} is a link, not a file")
        for odd in odd_files(folder):
            raise ValueError(f"{odd} is a pipe or a device, not a file")
        yield folder
    except Exception as error:  # damaged files make Orbax and its libraries raise anything
        name = epath.Path(path) / str(step)
        if passing := _passing(error):
            raise VqadError(
                f"{name}: cannot be read now ({reason(passing)}); run the same command again "
                "when that is mended"
            ) from error
        if fault := machine_fault(error):
            raise fault from error
        told = f"{name}: a checkpoint that cannot be read ({reason(error)})"
        raise DamagedCheckpoint(told) from error


def _passing(error: BaseException | None) -> BaseException | None:
    """What an error comes from, if that surely is of the system and not of a file's content."""
    while error is not None:
        if isinstance(error, _PASSING):
            return error
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            return error
        if getattr(error, "code", None) in _OF_A_BUCKET or _STATUS.match(str(error)):
            return error
        error = error.__cause__
    return None
