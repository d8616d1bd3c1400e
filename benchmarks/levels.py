"""How far disturbed codes of each level change I_gen: a look at what the levels carry.

python benchmarks/levels.py runs/small/stage1 /data/tiles
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from vqad import checkpoints
from vqad.anomalies.features import disturb, draw_disturbance
from vqad.anomalies.perlin import perlin_mask
from vqad.data.sources import open_source
from vqad.models.dsr import Dsr

COUNT = 16
MAX_CELLS = 16
LEVELS = {"lo": (False, True), "hi": (False, False), "both": (True, True)}


def changes(model: Dsr, variables: dict, image: jax.Array) -> dict[str, jax.Array]:
    """Mean absolute changes of I_gen under masks where codes are disturbed.

    Args:
      model: the network.
      variables: at least its autoencoder's.
      image: float32 [n, h, w, 3] in [0, 1].

    Returns:
      ``lo``, ``hi`` and ``both``, float32 scalars in units of the images; ``error``, the mean
      squared error of the undisturbed I_gen.
    """
    net = model.bind(variables)
    n, size = len(image), image.shape[1:3]
    keys = jax.random.split(jax.random.key(5), n)
    mask = jax.vmap(lambda key: perlin_mask(key, size, MAX_CELLS))(keys)
    draws = draw_disturbance(jax.random.key(3), n, size, max_cells=MAX_CELLS).replace(mask=mask)
    encoding = net.autoencoder.encode(image)
    plain = net.autoencoder.decode(encoding.upsampled_lo, encoding.hi.values)
    found = {"error": jnp.square(plain - image).mean()}
    for name, flags in LEVELS.items():
        use_both, use_lo = (jnp.full(n, flag) for flag in flags)
        lo, hi, _ = disturb(net, encoding, draws.replace(use_both=use_both, use_lo=use_lo))
        general = net.autoencoder.decode(net.autoencoder.upsample_lo(lo), hi)
        found[name] = (jnp.abs(general - plain) * mask).sum() / mask.sum() / 3
    return found


def main() -> None:
    """Prints the changes for a checkpoint and some training images of a surface."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="workdir or checkpoint folder")
    parser.add_argument("surface", help="folder or tfds:<name>")
    args = parser.parse_args()
    variables, metadata = checkpoints.load_weights(args.checkpoint)
    model = Dsr(**{**metadata["model"], "dtype": jnp.dtype(metadata["model"]["dtype"])})
    size = tuple(metadata["config"]["image_size"])
    source = open_source(args.surface, "train", size)
    chosen = np.random.default_rng(0).choice(len(source), min(COUNT, len(source)), replace=False)
    image = jnp.stack([source[int(i)]["image"] for i in chosen]).astype(jnp.float32) / 255
    found = jax.jit(lambda variables, image: changes(model, variables, image))(variables, image)
    print(", ".join(f"{name} {float(value):.4f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
