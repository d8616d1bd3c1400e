"""Times vqad and, where a checkout of theirs is given, the authors' code on the same sizes.

python benchmarks/duel.py                                   vqad alone
python benchmarks/duel.py --authors DSR_anomaly_detection   both; needs vqad[torch], opencv, imgaug
python benchmarks/duel.py --growth                          stage 2 and inference at other sizes

Each case runs in processes of its own. Steps alone are interleaved A B A B within a case; with data
loading, whole processes take turns, so that nobody loads ahead while the other one is timed. The
start of ``configs/demo.py`` is timed by ``benchmarks/start.py``.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
from contest import Times, duel, sum_of
from workload import Workload, make_folders

CASES = {
    "stage1": "stage-1 step",
    "stage2": "stage-2 step, anomalies included",
    "stage3": "stage-3 step",
    "stage1+loading": "stage-1 step with data loading",
    "stage2+loading": "stage-2 step with data loading",
    "stage3+loading": "stage-3 step with data loading",
    "inference": "inference",
    "anomalies": "drawing feature anomalies",
}
LOADED = [name for name in CASES if name.endswith("+loading")]
GROWTH = {
    "side": [{"side": side, "batch": 1} for side in (64, 128, 256, 512)],
    "batch": [{"side": 64, "batch": batch} for batch in (1, 8, 32)],
    "num_codes": [{"batch": 1, "num_codes": k} for k in (512, 4096, 16384)],
}


def gemm_rate(size: int = 2048, repeats: int = 9) -> float:
    """GFLOP/s of a float32 matrix product in JAX on the default device."""
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(product(a))
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def row(name: str, times: dict[str, Times], rate: float) -> str:
    """A line of the table."""
    ours, theirs = times["vqad"], times.get("authors")
    share = f"{ours.flops / ours.median / 1e9 / rate:.0%}" if ours.flops else "-"
    cells = [name, f"{ours.median:.3f}", share, f"{ours.first_step:.1f}", f"{ours.peak_mib:.0f}"]
    if theirs:
        ratio = theirs.median / ours.median
        cells[2:2] = [f"{theirs.median:.3f}", f"{ratio:.2f}"]
        cells += [f"{theirs.first_step:.1f}", f"{theirs.peak_mib:.0f}"]
    return "| " + " | ".join(cells) + " |"


def header(both: bool) -> str:
    """The head of the table."""
    names = ["case", "vqad s", "of GEMM", "start s", "peak MiB"]
    if both:
        names[2:2] = ["theirs s", "ratio"]
        names += ["their start s", "their peak MiB"]
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--authors", help="checkout of VitjanZ/DSR_anomaly_detection")
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--growth", action="store_true", help="how time and memory grow")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument("--codes", type=int, default=4096)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps in each turn")
    found = parser.parse_args()
    if found.authors and not (Path(found.authors) / "train_dsr.py").exists():
        parser.error(f"--authors {found.authors}: no train_dsr.py there; give their checkout")
    found.cases = found.cases or (["stage2", "inference"] if found.growth else list(CASES))
    return found


def main() -> None:
    """Runs the duel that the command line asks for and prints tables as it goes."""
    args = parse()
    rate = gemm_rate()
    print(f"GEMM, float32: {rate:.0f} GFLOP/s\n")
    with tempfile.TemporaryDirectory() as folder:
        pictures, surface = make_folders(Path(folder))
        work = Workload(
            args.side, args.batch[0], args.codes, args.dtype, str(pictures), str(surface)
        )
        if args.growth:
            sizes = [change for along in GROWTH.values() for change in along]
        else:
            sizes = [{"batch": batch} for batch in args.batch]
        print(header(bool(args.authors)), flush=True)
        found: dict[tuple[str, int], dict[str, Times]] = {}
        for case in args.cases:
            for i, change in enumerate(sizes):
                at = replace(work, **change)
                found[case, i] = duel(case, at, args.authors, args.rounds, args.steps)
                size = f"{at.side} x {at.side}, batch {at.batch}, {at.num_codes} codes"
                print(row(f"{CASES[case]}, {size}", found[case, i], rate), flush=True)
        for i in range(len(sizes)):
            if all((name, i) in found for name in LOADED):
                together = sum_of([found[name, i] for name in LOADED])
                print(row("a step of each stage with data loading", together, rate), flush=True)


if __name__ == "__main__":
    main()
