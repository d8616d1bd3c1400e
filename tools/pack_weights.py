"""Packs what a run has reached into a small file that later runs start from.

python tools/pack_weights.py runs/pretrain_small weights/small

Writes ``weights/small.safetensors`` (all modules so far, parameters in half precision),
``weights/small.jsonl`` (the run's metrics, thinned) and ``weights/small.json`` (stage, step,
settings, data). ``--config.init_from=weights/small.safetensors`` starts from it, and
``--config.warm_start="('restriction_hi',)"`` goes on training what it holds.
"""

import argparse
import json
from pathlib import Path

from vqad import checkpoints
from vqad.checkpoints.weights_file import SUFFIX, read_weights, write_weights

_LINES = 200


def main() -> None:
    """Packs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path, help="the files' path without their suffixes")
    parser.add_argument(
        "--rest", type=Path, help="weights to take the modules from that the run has not come to"
    )
    arguments = parser.parse_args()
    variables, metadata = checkpoints.load_weights(str(arguments.run))
    if arguments.rest:
        rest, _ = read_weights(str(arguments.rest))
        variables = {**variables, "params": rest["params"] | dict(variables["params"])}
    kept = {key: metadata[key] for key in ("model", "stage", "step", "config", "fixed")}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    file = arguments.out.with_suffix(SUFFIX)
    write_weights(str(file), variables, kept)
    lines = (arguments.run / "metrics.jsonl").read_text().splitlines()
    thinned = lines[:: max(1, len(lines) // _LINES)]
    arguments.out.with_suffix(".jsonl").write_text("\n".join([*thinned, lines[-1]]) + "\n")
    arguments.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{file}: {metadata['stage']}, step {metadata['step']}, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
