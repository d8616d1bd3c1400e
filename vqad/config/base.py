"""The fields of a configuration, with the paper's values."""

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from vqad.anomalies.perlin import MAX_CELLS
from vqad.config.fields import (
    WIDEST,
    Field,
    choice,
    is_value_range,
    number,
    odd,
    positive,
    power_of_two,
    share,
    whole,
)
from vqad.errors import VqadError
from vqad.models.dsr import Dsr
from vqad.stages import STAGES

_STAGE = {
    "learning_rate": positive(2e-4),
    # The rate after its warm-up (a linear rise): drop multiplies it once by ``drop_factor`` after
    # the share ``drop_after`` of the steps, cosine lets it fall to zero.
    "schedule": choice("drop", "cosine"),
    "warmup_steps": whole(0),
    "drop_after": share(1.0),
    "drop_factor": share(0.1),
    # Largest norm of the gradients, longer ones are shortened; 0 leaves all as they are.
    "clip_norm": number(0.0),
    # Decay of the moving average of the weights that checkpoints hold; 0 keeps the last ones.
    "average_decay": share(0.0, 0.999999),
    # Parts that a batch is worked on in, one after the other, where it does not fit the memory.
    "accumulate_steps": whole(1, 1),
}
_SURFACE_STAGE = {
    **_STAGE,
    "batch_size": whole(8, 1, WIDEST),
    "rotation_probability": share(0.4),
    # Most cells along a side of the noise that masks are cut from, a power of two.
    "max_cells": power_of_two(MAX_CELLS),
    # Off in the paper: shares of the images that lose their colour, and of those that get a mark
    # (a spot, a curve, a patch) in place of codes that are replaced one by one, or of a smudge.
    "gray_probability": share(0.0),
    "mark_share": share(0.0),
}
_DISTURBED_STAGE = {"steps": whole(100_000), **_SURFACE_STAGE, "min_strength": share(0.2)}


def _model() -> dict[str, Field]:
    """The fields of ``Dsr``, with its defaults."""
    kinds = {int: partial(whole, low=1, high=WIDEST), float: number, bool: Field}
    checks = {
        "hiddens": partial(whole, low=2, high=WIDEST),
        "restriction_width": partial(whole, high=WIDEST),
        "num_codes": partial(whole, low=8, high=WIDEST),
        "score_window": odd,
        "decay": partial(share, high=0.999999),
        "reseed_below": share,
        "dtype": lambda default: choice("float32", "bfloat16"),
    }
    return {
        field.name: checks.get(field.name, kinds.get(field.type))(field.default)
        for field in dataclasses.fields(Dsr)
        if field.name not in ("parent", "name")
    }


def fields() -> dict[str, Any]:
    """All fields; a dict holds those of a section."""
    return {
        "seed": whole(0, 0, 2**32 - 1),
        # Stages to run, in order, each in its own folder of the workdir.
        "stages": Field(("stage1", "stage2", "stage3")),
        # (height, width), both divisible by 32.
        "image_size": Field((256, 256)),
        "model": _model(),
        # Where images come from: a folder, or tfds:<name>[/<config>].
        "pictures": Field(""),
        "surface": Field(""),
        # Numbers of black and white, (low, high), in images of more than 8 bits, as (0, 4095) of a
        # sensor of 12 bits; () takes the range that each file says it has.
        "value_range": Field(
            (),
            lambda value: not value or is_value_range(value),
            "give (low, high), as (0, 4095), or () for none",
        ),
        # What stages 2 and 3 see of a surface's image: the whole, or a random part of it, mirrored
        # half of the time, as stage 1 does of pictures.
        "crop": choice("whole", "random"),
        # Whether links in folders of images are followed, wherever they lead.
        "follow_links": Field(False),
        # Where TFDS keeps prepared data; "" for its default.
        "data_dir": Field(""),
        # Archive or folder that a public data set (tfds:ksdd2, tfds:mvtec_ad/bottle, ...) is
        # prepared from, if it is not prepared yet; with allow_partial even if not all is there.
        # The surface's, where a run needs pictures and a surface.
        "manual_dir": Field(""),
        "allow_partial": Field(False),
        # Processes that load images; 0 loads in threads of the training process.
        "loading_workers": whole(0),
        # Share of the images of stages 2 and 3 that are labelled defects, where the surface's
        # training images have such; 0 leaves them out.
        "labelled_share": share(0.25, 0.95),
        # Share of the surface's good training images that stages 2 and 3 leave out, to set the
        # model's thresholds by after stage 3 (0: none, and no thresholds), and the share of good
        # parts that may be called defective.
        "calibration": {
            "held_out": share(0.0, 0.9),
            "false_alarms": number(0.01, 1e-6, 0.999999),
        },
        # Checkpoint, or file of weights, that the first stage starts from, where it needs one.
        "init_from": Field(""),
        # Modules that start from it too, of those that the run trains.
        "warm_start": Field(()),
        # Devices: data x model, -1 for all that are left. What of the state is split over them:
        # nothing, optimizer (over data) or parameters and optimizer (over model).
        "mesh": {
            "data": whole(-1, -1),
            "model": whole(1, 1),
            "split": choice("nothing", "optimizer", "parameters"),
        },
        "stage1": {
            "steps": whole(200_000),
            "batch_size": whole(32, 1, WIDEST),
            **_STAGE,
            # For surfaces seen by a grey camera: share of the pictures that lose their colour.
            "gray_probability": share(0.0),
            # Start with features of unit variance on the first batch; off in the paper.
            "standardize_features": Field(False),
            # Share of the images that are decoded from the lo codes alone, so that these learn to
            # carry the coarse appearance; 0 in the paper.
            "hi_dropout": share(0.0),
        },
        "stage2": {
            **_DISTURBED_STAGE,
            "drop_after": share(0.8),
            "feature_weight": number(1.0),
            "image_weight": number(10.0),
        },
        # In place of stage2, one after the other: what it trains jointly.
        "restrictions": _DISTURBED_STAGE,
        "object_decoder": _DISTURBED_STAGE,
        "detector": _DISTURBED_STAGE,
        "stage3": {
            "steps": whole(20_000),
            **_SURFACE_STAGE,
            "rotation_probability": share(0.3),
        },
        "checkpoint": {"every_steps": whole(1000, 1), "keep": whole(3, 1)},
        # Steps of each stage to trace, for TensorBoard or Perfetto and a table.
        "profile_steps": whole(0),
        "log": {"every_steps": whole(100, 1), "images_every_steps": whole(1000, 1)},
        "evaluation": {
            "batch_size": whole(8, 1, WIDEST),
            # What all devices share: nothing (one works), images of a batch, or the height of each
            # image, where one does not fit a device's memory.
            "split": choice("nothing", "images", "height"),
            "cases": whole(4, 1, WIDEST),
            # Steps after which figures of the test split are taken along a stage; 0 never.
            "every_steps": whole(0),
            # Modules to evaluate with fresh parameters, by commas: what would they do untrained?
            "reinitialize": Field(""),
        },
    }


def _defaults(of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _defaults(field) if isinstance(field, Mapping) else field.default
        for name, field in of.items()
    }


def base_config(surface: str = "") -> ConfigDict:
    """All fields of a configuration, with the paper's settings, as an unlocked ConfigDict.

    ``surface`` is a data set, which becomes ``config.surface``, as ``ksdd2`` (640 x 224 in place of
    256 x 256) or ``mvtec_ad/bottle``; ``folder`` or nothing for a folder, to be given there. Raises
    a VqadError for any other.
    """
    config = ConfigDict(_defaults(fields()))
    config.surface = _surface_source(surface)
    if config.surface.startswith("tfds:ksdd2/"):
        config.image_size = (640, 224)
    return config


def _surface_source(surface: str) -> str:
    if surface in ("", "folder"):
        return ""
    if surface == "ksdd2":
        return "tfds:ksdd2/unsupervised"
    if re.fullmatch(r"ksdd2_supervised_(16|53|126|246)", surface):
        return f"tfds:ksdd2/{surface.removeprefix('ksdd2_')}"
    if re.fullmatch(r"kolektor_sdd|magnetic_tile|(mvtec_ad|visa)/.+", surface):
        return f"tfds:{surface}"
    raise VqadError(
        f"configuration for {surface}: no such surface; give ksdd2, ksdd2_supervised_16 (_53, "
        "_126, _246), mvtec_ad/<category>, visa/<object>, kolektor_sdd, magnetic_tile, folder or "
        "nothing"
    )


def model_from_config(config: ConfigDict) -> Dsr:
    """Builds the network from ``config.model``."""
    import jax.numpy as jnp

    return Dsr(**{**config.model, "dtype": jnp.dtype(config.model.dtype)})


def where_data_is(config: ConfigDict, field: str = "surface") -> dict[str, Any]:
    """What ``open_source`` is told of links, of values, and of data sets that TFDS prepares.

    Of ``surface`` or ``pictures``; where a run needs both, ``manual_dir`` is the surface's.
    """
    where = {"data_dir": config.data_dir or None, "follow_links": config.follow_links}
    where["value_range"] = tuple(config.value_range) or None
    if field == "surface" or all(STAGES[name].source == field for name in config.stages):
        where["manual_dir"] = config.manual_dir or None
        where["allow_partial"] = config.allow_partial
    return where
