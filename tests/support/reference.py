"""The arrays of the authors' code in tests/data, in vqad's layout."""

import functools
from pathlib import Path

import numpy as np

from vqad.anomalies.features import Disturbance
from vqad.interop.authors import authors_to_variables, infer_sizes
from vqad.models.dsr import Dsr

DATA = Path(__file__).parents[1] / "data"


@functools.cache
def arrays():
    with np.load(DATA / "reference.npz") as file:
        return {name: file[name] for name in file.files}


def nhwc(name):
    return arrays()[name].transpose(0, 2, 3, 1)


@functools.cache
def files():
    """The weights in tests/data, by part and name."""
    parts = {}
    with np.load(DATA / "weights.npz") as file:
        for key in file.files:
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = file[key]
    return parts


@functools.cache
def model_and_variables():
    """The model with the authors' weights as they are, for images in the authors' BGR order."""
    return Dsr(**infer_sizes(files())), authors_to_variables(files())


def disturbance():
    z = arrays()
    n, h, w, _ = nhwc("anomaly_mask").shape
    return Disturbance(
        mask=nhwc("anomaly_mask"),
        strength_lo=z["strength_lo"],
        strength_hi=z["strength_hi"],
        uniform_lo=z["uniform_lo"].reshape(n, h // 8, w // 8),
        uniform_hi=z["uniform_hi"].reshape(n, h // 4, w // 4),
        use_both=z["use_both"].reshape(n) > 0,
        use_lo=z["use_lo"].reshape(n) > 0,
    )


def gradients(**prefixes):
    """The reference's gradients as a tree of parameters; prefixes by the authors' part."""
    parts = {part: dict(tensors) for part, tensors in files().items()}
    for part, prefix in prefixes.items():
        for name in arrays():
            if name.startswith(prefix):
                parts[part][name[len(prefix) :]] = arrays()[name]
    return authors_to_variables(parts)["params"]


def error(got, want):
    """Largest difference, relative to the largest magnitude of what is wanted."""
    return np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()


def named(inference):
    """What the networks computed, by the names of the reference's arrays, [n, h, w, c]."""
    encoding, restored = inference.encoding, inference.restored
    return {
        "encoder_hi": encoding.hidden_hi,
        "encoder_lo": encoding.hidden_lo,
        "features_lo": encoding.features_lo,
        "features_hi": encoding.features_hi,
        "quantized_lo": encoding.lo.values,
        "quantized_hi": encoding.hi.values,
        "upsampled_lo": encoding.upsampled_lo,
        "general_image": inference.general,
        "restored_features_hi": restored.features_hi,
        "restored_features_lo": restored.features_lo,
        "restored_quantized_hi": restored.hi.values,
        "restored_quantized_lo": restored.lo.values,
        "specific_image": inference.specific,
        "detector_logits": inference.detector_logits,
        "detector_mask": inference.detector_mask,
        "upsampler_logits": inference.upsampler_logits,
        "upsampled_mask": inference.upsampled_mask,
    }
