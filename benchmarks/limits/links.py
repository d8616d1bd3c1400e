"""The links of a trained model, jitted for one size of batch, each with its oracle beside it."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vqad.anomalies.features import Disturbance, disturb
from vqad.kernels.compiler import in_full_products
from vqad.models.dsr import Dsr

SPECIFIC = ("restored", "undisturbed", "codes", "I")  # what takes the place of I_spc


def in_batches(function: Callable, batch: int, *arrays: object) -> object:
    """Applies a function of whole batches to any number of images.

    Args:
      function: of trees of arrays [batch, ...] to a tree of arrays [batch, ...].
      batch: images at a time; the last batch is filled up with copies of the last image.
      *arrays: trees of arrays [n, ...].

    Returns:
      A tree of NumPy arrays [n, ...].
    """
    n = len(jax.tree.leaves(arrays)[0])
    parts = []
    for start in range(0, n, batch):
        at = np.minimum(np.arange(start, start + batch), n - 1)
        # The index is bound at once: each part is computed before the next one starts.
        parts.append(jax.device_get(function(*jax.tree.map(lambda a, at=at: a[at], arrays))))
    return jax.tree.map(lambda *part: np.concatenate(part)[:n], *parts)


def to_float(image: jax.Array) -> jax.Array:
    """Images uint8 to float32 in [0, 1]."""
    return image.astype(jnp.float32) / 255


def look(model: Dsr, variables: Mapping, image: jax.Array) -> dict[str, jax.Array]:
    """What the model makes of images as they are.

    Args:
      model: the network.
      variables: all its variables.
      image: uint8 [n, h, w, 3].

    Returns:
      ``I_gen``, ``I_spc`` and ``codes`` (I_spc drawn from the image's own codes, not restored),
      float32 [n, h, w, 3]; ``M`` and ``M_up``, channel 1, float32 [n, h, w].
    """
    net = model.bind(variables)
    encoding, restored, general, specific, logits = net.compare(to_float(image))
    mask = jax.nn.softmax(logits)
    upsampled = jax.nn.softmax(net.upsample(specific, general, mask))
    return {
        "I_gen": general,
        "I_spc": specific,
        "codes": net.decode_specific(restored.replace(lo=encoding.lo, hi=encoding.hi)),
        "M": mask[..., 1],
        "M_up": upsampled[..., 1],
    }


def look_at_drawn(
    model: Dsr, variables: Mapping, image: jax.Array, draws: Disturbance
) -> dict[str, object]:
    """What the model makes of images with feature anomalies, and of oracles in place of I_spc.

    Args:
      model: the network.
      variables: all its variables.
      image: uint8 [n, h, w, 3].
      draws: the anomalies.

    Returns:
      ``target``, the detector's target mask, and for each of ``SPECIFIC`` in its place
      ``maps[name]``, channel 1 of M, and ``errors[name]``, the squared error against I as a mean
      over the channels, beside ``errors["I_gen"]``; all float32 [n, h, w].
    """
    net, image = model.bind(variables), to_float(image)
    encoding = net.autoencoder.encode(image)
    values_lo, values_hi, target = disturb(net, encoding, draws)
    general = net.autoencoder.decode(net.autoencoder.upsample_lo(values_lo), values_hi)
    undisturbed = net.restore(encoding.lo.values, encoding.hi.values)
    specific = {
        "restored": net.decode_specific(net.restore(values_lo, values_hi)),
        "undisturbed": net.decode_specific(undisturbed),
        "codes": net.decode_specific(undisturbed.replace(lo=encoding.lo, hi=encoding.hi)),
        "I": image,
    }
    return {
        "target": target[..., 0],
        "maps": {
            name: jax.nn.softmax(net.detect(specific[name], general))[..., 1] for name in SPECIFIC
        },
        "errors": {
            name: jnp.square(picture - image).mean(-1)
            for name, picture in {"I_gen": general, **specific}.items()
        },
    }


class Links:
    """A trained model that looks at any number of images, a batch at a time.

    Attributes:
      model: the network.
      batch: images at a time.
    """

    def __init__(self, model: Dsr, variables: Mapping, batch: int) -> None:
        self.model, self.batch = model, batch
        self._variables = jax.device_put(dict(variables))
        self._look, self._look_at_drawn = (
            jax.jit(in_full_products(functools.partial(function, model)))
            for function in (look, look_at_drawn)
        )

    def look(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See ``look``; images uint8 [n, h, w, 3]."""
        return in_batches(functools.partial(self._look, self._variables), self.batch, images)

    def look_at_drawn(self, images: np.ndarray, draws: Disturbance) -> dict[str, object]:
        """See ``look_at_drawn``; images uint8 [n, h, w, 3]."""
        function = functools.partial(self._look_at_drawn, self._variables)
        return in_batches(function, self.batch, images, jax.device_get(draws))
