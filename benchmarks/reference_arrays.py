"""How far vqad's arrays are from those that the authors' code computed with the same weights.

python benchmarks/reference_arrays.py DIR

DIR holds the authors' six checkpoint files and `reference.npz` with `image` and the arrays named
below, [n, c, h, w]. Differences are relative to the largest magnitude of the reference's array;
the second column has vqad in float64 (statistics of instance norms and the quantizers stay
float32), and so tells how far the reference's own float32 is off.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from vqad.interop.authors import authors_to_variables, infer_sizes
from vqad.interop.torch_checkpoints import read_authors
from vqad.models.dsr import Dsr


def computed(variables: dict, image: np.ndarray, dtype: str) -> tuple[dict, dict]:
    """All arrays and the codes of an image batch [n, h, w, 3], BGR as the authors' weights are."""
    model = Dsr(**infer_sizes(variables), dtype=dtype)
    variables = jax.tree.map(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, variables)
    found = jax.device_get(jax.jit(model.apply)(variables, image.astype(dtype)))
    encoding, restored = found.encoding, found.restored
    arrays = {
        "encoder_hi": encoding.hidden_hi,
        "encoder_lo": encoding.hidden_lo,
        "features_lo": encoding.features_lo,
        "features_hi": encoding.features_hi,
        "quantized_lo": encoding.lo.values,
        "quantized_hi": encoding.hi.values,
        "upsampled_lo": encoding.upsampled_lo,
        "general_image": found.general,
        "restored_features_lo": restored.features_lo,
        "restored_features_hi": restored.features_hi,
        "restored_quantized_lo": restored.lo.values,
        "restored_quantized_hi": restored.hi.values,
        "specific_image": found.specific,
        "detector_logits": found.detector_logits,
        "detector_mask": found.detector_mask,
        "upsampler_logits": found.upsampler_logits,
        "upsampled_mask": found.upsampled_mask,
    }
    return arrays, {"codes_lo": encoding.lo.codes, "codes_hi": encoding.hi.codes}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    jax.config.update("jax_enable_x64", True)
    with np.load(folder / "reference.npz") as file:
        reference = {name: file[name] for name in file.files}
    variables = authors_to_variables(read_authors(folder).files)
    image = reference["image"].transpose(0, 2, 3, 1)
    columns = [computed(variables, image, dtype) for dtype in ("float32", "float64")]
    for name in columns[0][1]:
        same = all(np.array_equal(codes[name], reference[name]) for _, codes in columns)
        print(f"{name}: {'identical' if same else 'DIFFERENT'}")
    print("| array | float32 | float64 |\n|---|---|---|")
    for name in columns[0][0]:
        want = reference[name].transpose(0, 2, 3, 1).astype(np.float64)
        errors = [np.abs(arrays[name] - want).max() / np.abs(want).max() for arrays, _ in columns]
        print(f"| `{name}` | {errors[0]:.1e} | {errors[1]:.1e} |")


if __name__ == "__main__":
    main()
