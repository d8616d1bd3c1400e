"""The pictures of README and of docs/method.md, from a run of the demo.

python launch/main.py --config=configs/demo.py --workdir=runs/demo --config.seed=0
python docs/make_pictures.py runs/demo
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqad.anomalies.features import Disturbance, disturb, draw_disturbance
from vqad.anomalies.perlin import MAX_CELLS, THRESHOLD, perlin_masks, perlin_noise
from vqad.anomalies.smudge import random_smudges
from vqad.data.sources import Source, open_source
from vqad.evaluation import report
from vqad.models.dsr import Dsr
from vqad.prediction.loading import load_folder

SURFACE = "tfds:surface_demo/tiles"
PANEL, GAP, LINE, MARGIN = 128, 4, 18, 64
LEVELS = {"lo": (False, True), "hi": (False, False), "both": (True, True)}
COLOURS = 255
SEEN = ("I", "mask", "codes lo", "codes hi", "I_gen", "I_spc", "M", "target")

Panels = dict[str, np.ndarray]


def code_colours(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Colours of codes, near where the codes are near: their first principal components as RGB.

    Args:
      table: the codebook, float32 [k, d].
      codes: int32 [h, w].

    Returns:
      float32 [h, w, 3] in [0, 1].
    """
    used = table[np.unique(codes)]
    mean = used.mean(0)
    axes = np.linalg.svd(used - mean, full_matrices=False)[2][:3]
    low, high = np.percentile((used - mean) @ axes.T, (2, 98), axis=0)
    colours = ((table - mean) @ axes.T - low) / np.maximum(high - low, 1e-9)
    return np.clip(colours, 0, 1)[codes]


def first_of_each_class(source: Source) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the classes; the first image of each, float32 [n, h, w, 3], and its mask."""
    found = {}
    for i in range(len(source)):
        example = source[i]
        found.setdefault(source.classes[int(example["class_id"])], example)
    found = {name: found[name] for name in source.classes}
    images = np.stack([example["image"] for example in found.values()]) / 255
    masks = np.stack([example["mask"] for example in found.values()])
    return list(found), images.astype(np.float32), masks


def inference(model: Dsr, variables: dict, source: Source) -> dict[str, Panels]:
    """From image to masks: one row for each class of test images."""
    names, images, masks = first_of_each_class(source)
    found = jax.device_get(jax.jit(model.apply)(variables, images))
    books = variables["codebook"]["autoencoder"]
    rows = {}
    for i, name in enumerate(names):
        encoding = found.encoding
        rows[name] = {
            "I": images[i],
            "codes lo": code_colours(books["quantizer_lo"]["codes"], encoding.lo.codes[i]),
            "codes hi": code_colours(books["quantizer_hi"]["codes"], encoding.hi.codes[i]),
            "I_gen": found.general[i],
            "I_spc": found.specific[i],
            "M": found.detector_mask[i, ..., 1],
            "M_up": found.upsampled_mask[i, ..., 1],
            "truth": masks[i],
        }
    return rows


def draws_with_masks(size: tuple[int, int]) -> Disturbance:
    """The draws of stage 2 for three images, all with one mask that covers some of the image."""
    draws = draw_disturbance(jax.random.key(0), 3, size)
    masks = np.asarray(perlin_masks(jax.random.key(1), 64, size, 4))
    share = masks.mean((1, 2, 3))
    chosen = masks[int(np.abs(share - 0.15).argmin())]
    flags = jnp.array(list(LEVELS.values()))
    return draws.replace(mask=jnp.stack([chosen] * 3), use_both=flags[:, 0], use_lo=flags[:, 1])


def disturbed(model: Dsr, variables: dict, source: Source) -> dict[str, Panels]:
    """What stage 2 sees: codes of lo, of hi and of both replaced under one mask."""
    image = jnp.stack([source[0]["image"].astype(np.float32) / 255] * 3)
    draws = draws_with_masks(image.shape[1:3])

    @jax.jit
    def see(variables: dict, image: jax.Array, draws: Disturbance) -> dict[str, jax.Array]:
        net = model.bind(variables)
        lo, hi, target = disturb(net, net.autoencoder.encode(image), draws)
        general = net.autoencoder.decode(net.autoencoder.upsample_lo(lo), hi)
        restored = net.restore(lo, hi)
        specific = net.decode_specific(restored)
        mask = jax.nn.softmax(net.detect(specific, general))[..., 1]
        return {
            "I": image,
            "mask": draws.mask[..., 0],
            "target": target[..., 0],
            "codes lo": net.autoencoder.quantizer_lo(lo).codes,
            "codes hi": net.autoencoder.quantizer_hi(hi).codes,
            "I_gen": general,
            "I_spc": specific,
            "M": mask,
        }

    found = jax.device_get(see(variables, image, draws))
    books = variables["codebook"]["autoencoder"]
    for level in ("lo", "hi"):
        table = books[f"quantizer_{level}"]["codes"]
        codes = found[f"codes {level}"]
        flat = code_colours(table, codes.reshape(-1, codes.shape[-1]))
        found[f"codes {level}"] = flat.reshape(*codes.shape, 3)
    return {name: {key: found[key][i] for key in SEEN} for i, name in enumerate(LEVELS)}


def smudged(model: Dsr, variables: dict, source: Source) -> dict[str, Panels]:
    """What stage 3 sees: smudged images and what becomes of them."""
    count = 16
    images = jnp.stack([source[i]["image"] for i in range(count)]).astype(jnp.float32) / 255
    found, masks = random_smudges(jax.random.key(2), images, 8)
    chosen = np.flatnonzero(np.asarray(masks).mean((1, 2, 3)) > 0.02)[:2]
    evaluated = jax.device_get(jax.jit(model.apply)(variables, found[chosen]))
    return {
        f"tile {index}": {
            "clean": images[index],
            "I": found[index],
            "I_gen": evaluated.general[i],
            "I_spc": evaluated.specific[i],
            "M": evaluated.detector_mask[i, ..., 1],
            "M_up": evaluated.upsampled_mask[i, ..., 1],
            "target": masks[index][..., 0],
        }
        for i, index in enumerate(chosen)
    }


def perlin() -> dict[str, Panels]:
    """Noise of several numbers of cells, and what is above the threshold."""
    cells = [(1, 1), (2, 8), (4, 4), (8, 8), (16, 2), (16, 16), (32, 32)]
    turns = jax.random.uniform(jax.random.key(4), (MAX_CELLS + 1, MAX_CELLS + 1))
    noise = {
        f"{rows} x {columns}": np.asarray(
            perlin_noise(turns, jnp.array([rows, columns]), (128, 128))
        )
        for rows, columns in cells
    }
    return {
        "noise": {name: (values + 1) / 2 for name, values in noise.items()},
        "mask": {name: (values > THRESHOLD).astype(float) for name, values in noise.items()},
    }


def sheet(rows: dict[str, Panels], path: Path) -> None:
    """Draws rows of panels, their names beside and above them, as a PNG.

    Args:
      rows: by name panels by title, each [h, w] or [h, w, 3] in [0, 1].
      path: the file.
    """
    titles = list(next(iter(rows.values())))
    width = MARGIN + len(titles) * (PANEL + GAP)
    drawn = Image.new("RGB", (width, LINE + len(rows) * (PANEL + GAP)), "white")
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=13)
    for column, title in enumerate(titles):
        draw.text((MARGIN + column * (PANEL + GAP), 1), title, "black", font)
    for row, (name, panels) in enumerate(rows.items()):
        top = LINE + row * (PANEL + GAP)
        draw.text((2, top + PANEL // 2 - 8), name, "black", font)
        for column, panel in enumerate(panels.values()):
            drawn.paste(_panel(panel), (MARGIN + column * (PANEL + GAP), top))
    drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def found(contact_sheet: Path, path: Path) -> None:
    """Cuts three of the cases "found" out of a contact sheet that has four of each kind.

    Args:
      contact_sheet: what evaluating the demo left.
      path: the file.
    """
    case = report.LINE + report.PANEL + report.GAP
    kind = report.LINE + report.GAP
    above = report.GAP + report.LINE
    top = above + 2 * (kind + 4 * case)
    with Image.open(contact_sheet) as whole:
        drawn = Image.new("RGB", (whole.width, above + kind + 3 * case), "white")
        drawn.paste(whole.crop((0, 0, whole.width, above)))
        drawn.paste(whole.crop((0, top, whole.width, top + kind + 3 * case)), (0, above))
    drawn = drawn.resize((3 * drawn.width // 4, 3 * drawn.height // 4), Image.Resampling.LANCZOS)
    drawn.quantize(COLOURS, kmeans=1).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def _panel(values: np.ndarray) -> Image.Image:
    values = np.round(np.clip(np.asarray(values, np.float32), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(values).convert("RGB").resize((PANEL, PANEL), Image.Resampling.NEAREST)


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", help="the demo's workdir")
    parser.add_argument("--out", default=Path(__file__).parent / "pictures", type=Path)
    args = parser.parse_args(argv)
    trained = load_folder(args.workdir)
    model, variables, size = trained.model, trained.variables, trained.image_size
    train, test = (open_source(SURFACE, split, size) for split in ("train", "test"))
    args.out.mkdir(parents=True, exist_ok=True)
    sheet(inference(model, variables, test), args.out / "inference.png")
    sheet(disturbed(model, variables, train), args.out / "disturbed.png")
    sheet(smudged(model, variables, train), args.out / "smudged.png")
    sheet(perlin(), args.out / "perlin.png")
    found(Path(args.workdir) / "contact_sheet.png", args.out / "demo.png")


if __name__ == "__main__":
    main()
