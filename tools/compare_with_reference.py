"""How far vqad's arrays are from those that the authors' code computed with the same weights.

python tools/compare_with_reference.py DIR

DIR holds the authors' six checkpoint files and `reference.npz` with `image` and the arrays that
`reference.named` names, [n, c, h, w]. Differences are relative to the largest magnitude of the
reference's array; the second column has vqad in double precision throughout, and so tells how far
the reference's own float32 is off.
"""

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

import jax
import numpy as np
from double import double_precision, doubled
from reference import error, named

from vqad.interop.authors import authors_to_variables, infer_sizes
from vqad.interop.import_weights import read_checkpoint
from vqad.models.dsr import Dsr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with np.load(folder / "reference.npz") as file:
        reference = {name: file[name] for name in file.files}
    files = read_checkpoint(folder).files
    variables = authors_to_variables(files)
    image = reference["image"].transpose(0, 2, 3, 1)
    columns = []
    for dtype, double in (("float32", False), ("float64", True)):
        given = doubled((variables, image)) if double else (variables, image)
        with double_precision() if double else contextlib.nullcontext():
            model = Dsr(**infer_sizes(files), dtype=dtype)
            found = jax.device_get(jax.jit(model.apply)(*given))
        arrays = named(found)
        assert {array.dtype for array in arrays.values()} == {np.dtype(dtype)}
        columns.append(arrays)
        for level in ("lo", "hi"):
            same = np.array_equal(getattr(found.encoding, level).codes, reference[f"codes_{level}"])
            print(f"codes_{level}, {dtype}: {'identical' if same else 'DIFFERENT'}")
    print("\n| array | float32 | float64 |\n|---|---|---|")
    for name in columns[0]:
        want = reference[name].transpose(0, 2, 3, 1)
        errors = " | ".join(f"{error(arrays[name], want):.1e}" for arrays in columns)
        print(f"| `{name}` | {errors} |")


if __name__ == "__main__":
    main()
