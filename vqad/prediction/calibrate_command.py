"""The subcommand `vqad calibrate`; what it needs is imported when it runs."""

import argparse

from vqad.errors import VqadError


def calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument("model", metavar="MODEL", help="a run's workdir, or a checkpoint folder")
    parser.add_argument(
        "images",
        metavar="GOOD",
        nargs="+",
        help="pictures of good parts that were not trained on: files, folders or patterns",
    )
    parser.add_argument(
        "--false_alarms",
        type=float,
        default=0.01,
        help="wanted share of good parts that are called defective (0.01)",
    )
    parser.add_argument("--tile", action="store_true", help="for predictions with --tile")


def run_calibrate(args: argparse.Namespace) -> int:
    """Runs the subcommand.

    Returns:
      The exit code, 0.

    Raises:
      VqadError: bad arguments, too few pictures, or one that cannot be read.
    """
    import sys

    from tqdm import tqdm

    from vqad.prediction import thresholds
    from vqad.prediction.detector import load
    from vqad.prediction.inputs import decoded, gather

    thresholds.check_rate("--false_alarms", args.false_alarms)
    inputs = gather(args.images)
    # Before the long work: would they be enough?
    thresholds.conformal_quantile([0.0] * len(inputs), args.false_alarms)
    detector = load(args.model)

    def pictures() -> object:
        hidden = not sys.stderr.isatty()
        for _, picture in tqdm(decoded(inputs), total=len(inputs), unit="image", disable=hidden):
            if isinstance(picture, VqadError):
                raise picture
            yield picture

    limits = detector.calibrate(pictures(), args.false_alarms, tile=args.tile)
    path = thresholds.write(detector.metadata["folder"], limits)
    print(
        f"score {limits.score:.6g}, pixel {limits.pixel:.6g}: of good images like these "
        f"{limits.images}, at most {limits.rate:.3g} are called defective, on average over "
        f"calibrations; written: {path}"
    )
    return 0
