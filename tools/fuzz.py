"""Gives a reader hostile input for minutes: python tools/fuzz.py READER --minutes=10.

READER is one of config, checkpoint, pictures, prepared, weights, archives, exports and results;
`tests/support/hostile.py` says what each reads. A reader may raise VqadError and nothing else, must
end in 30 s and take no more than 2 GiB, and may neither write outside of its folder nor unpickle or
start anything. Each way of failing is printed once, with the sample's file in --keep, and the exit
code is then 1. The last line says how many examples were read.
"""

import argparse
import faulthandler
import functools
import hashlib
import logging
import os
import pickle
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("MALLOC_ARENA_MAX", "4")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import hypothesis  # noqa: E402
from hostile import READERS  # noqa: E402
from watch import LONGEST, watched  # noqa: E402

BATCH = 200  # examples between two looks at the clock
MEMORY = 2 * 2**30


def settings(examples):
    """Of Hypothesis: no database, no deadline (`watched` has one), no shrinking."""
    return hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def fingerprint(error):
    """What tells failures apart: the error's type and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames[-1:])


def fuzz(reader, minutes, seed, keep, most=None):
    """Reads samples until the time is over or `most` were read.

    Returns:
      The number of examples, and of ways of failing.
    """
    end = time.monotonic() + 60 * minutes
    examples, failures = 0, set()

    def attempt(sample):
        nonlocal examples
        if time.monotonic() > end:
            return
        examples += 1
        faulthandler.dump_traceback_later(2 * LONGEST, exit=True)
        try:
            with watched(functools.partial(reader.lay, sample)) as work:
                reader.read(sample, work)
        except Exception as error:
            if fingerprint(error) not in failures:
                failures.add(fingerprint(error))
                data = pickle.dumps(sample)
                path = keep / f"{hashlib.sha1(data).hexdigest()[:12]}.sample"
                path.write_bytes(data)
                print(f"FAILED on {path}: {repr(sample)[:300]}")
                traceback.print_exception(error, limit=-12, file=sys.stdout, chain=False)
                sys.stdout.flush()

    while time.monotonic() < end and (most is None or examples < most):
        wanted = BATCH if most is None else min(BATCH, most - examples)
        test = hypothesis.seed(seed)(hypothesis.given(reader.samples)(attempt))
        settings(wanted)(test)()
        seed += 1
    faulthandler.cancel_dump_traceback_later()
    return examples, len(failures)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--examples", type=int, help="stop after so many, too")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="where samples that failed go")
    parser.add_argument("--again", type=Path, help="read only this sample")
    args = parser.parse_args()
    for name in ("absl", "vqad", "jax", "orbax", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as sound:
        reader = READERS[args.reader](Path(sound))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY + 2**30,) * 2)
        if args.again:
            sample = pickle.loads(args.again.read_bytes())
            with watched(functools.partial(reader.lay, sample)) as work:
                reader.read(sample, work)
            return 0
        keep = args.keep or Path(tempfile.mkdtemp(prefix="vqad-fuzz-"))
        keep.mkdir(parents=True, exist_ok=True)
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        examples, failures = fuzz(reader, args.minutes, args.seed, keep, args.examples)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failures += peak - before > MEMORY // 2**10
    print(
        f"{args.reader}: {examples} examples in {time.monotonic() - start:.0f} s, {failures} ways "
        f"of failing, {(peak - before) / 2**10:.0f} MiB more than before"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
