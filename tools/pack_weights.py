"""Packs what a run has reached into a small file that later runs start from.

python tools/pack_weights.py runs/pretrain_small weights/small

Writes ``weights/small.safetensors`` (all modules so far, parameters in half precision),
``weights/small.jsonl`` (the run's metrics, thinned) and ``weights/small.json`` (stage, step,
settings, data). ``--config.init_from=weights/small.safetensors`` starts from it, and
``--config.warm_start="('restriction_hi',)"`` goes on training what it holds.

With ``--resume`` also ``weights/small.tar.xz``: the newest checkpoint of each stage, optimizer and
all. Unpacked into an empty workdir, ``tar xf weights/small.tar.xz -C runs/pretrain_small``, it lets
the same command go on to the same bits.
"""

import argparse
import json
import tarfile
from pathlib import Path

from vqad import checkpoints
from vqad.checkpoints.weights_file import SUFFIX, read_weights, write_weights
from vqad.stages import STAGES

_LINES = 200


def main() -> None:
    """Packs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path, help="the files' path without their suffixes")
    parser.add_argument(
        "--rest", type=Path, help="weights to take the modules from that the run has not come to"
    )
    parser.add_argument("--resume", action="store_true", help="pack what a run goes on from, too")
    arguments = parser.parse_args()
    variables, metadata = checkpoints.load_weights(str(arguments.run))
    if arguments.rest:
        rest, _ = read_weights(str(arguments.rest))
        variables = {**variables, "params": rest["params"] | dict(variables["params"])}
    kept = {key: metadata[key] for key in ("model", "stage", "step", "config", "fixed")}
    for values in (kept["config"], kept["fixed"]):
        for field, value in values.items():
            if isinstance(value, str) and value.startswith("/"):
                values[field] = Path(value).name  # where it lay tells nobody anything
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    file = arguments.out.with_suffix(SUFFIX)
    write_weights(str(file), variables, kept)
    lines = (arguments.run / "metrics.jsonl").read_text().splitlines()
    thinned = lines[:: max(1, len(lines) // _LINES)]
    arguments.out.with_suffix(".jsonl").write_text("\n".join([*thinned, lines[-1]]) + "\n")
    arguments.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
    if arguments.resume:
        _pack_whole(arguments.run, arguments.out.with_suffix(".tar.xz"))
    print(f"{file}: {metadata['stage']}, step {metadata['step']}, {file.stat().st_size:,} bytes")


def _pack_whole(run: Path, out: Path) -> None:
    with tarfile.open(out, "w:xz") as archive:
        archive.add(run / "metrics.jsonl", "metrics.jsonl")
        for stage in STAGES:
            step = checkpoints.latest_step(str(run / stage))
            if step is not None:
                archive.add(run / stage / str(step), f"{stage}/{step}", filter=_portable)
    print(f"{out}: {out.stat().st_size:,} bytes")


def _portable(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out what Orbax writes of where a checkpoint lay, and who owned it."""
    if member.name.endswith("commit_success.txt"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
