"""The vector quantizer with a codebook kept by exponential moving averages."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from vqad.kernels.distances import nearest_code
from vqad.models import initializers


@flax.struct.dataclass
class Quantized:
    """What a quantizer returns."""

    values: jax.Array  # float32 [n, h, w, d], the nearest codes; gradients pass straight through
    codes: jax.Array  # int32 [n, h, w], their indices
    commitment: jax.Array  # float32 scalar, cost times the mean squared distance to the codes


def code_counts(codes: jax.Array, num_codes: int) -> jax.Array:
    """How often each code is used: int32 of any shape to float32 [num_codes]."""
    return jnp.zeros(num_codes, jnp.float32).at[codes.reshape(-1)].add(1.0)


def perplexity_and_usage(codes: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """Of codes int32: exp of their frequencies' entropy, in [1, num_codes]; share of codes used."""
    counts = code_counts(codes, num_codes)
    frequency = counts / codes.size
    perplexity = jnp.exp(-jnp.sum(frequency * jnp.log(frequency + 1e-10)))
    return perplexity, (counts > 0).mean()


class VectorQuantizer(nn.Module):
    """Nearest code by squared L2, straight-through gradient, EMA codebook.

    DSR: vector quantizer.

    The codebook lives in the collection ``codebook`` as ``codes`` [k, d], ``cluster_size`` [k] and
    ``ema_sum`` [k, d], all float32. ``ema_update`` moves it by the statistics of a batch
    that was quantized. Everything here is float32.
    """

    num_codes: int  # k, codes in the book
    code_dim: int  # d, dimension of a code
    commitment_cost: float = 0.25  # weight of the commitment loss
    decay: float = 0.99  # decay of the moving averages
    # A code whose moving count falls below this is put onto a feature vector drawn from the batch
    # (with the rng stream ``codebook``), with a count of one. As all counts start at zero, a
    # positive value also initialises the book from data. 0 (the paper) never re-seeds.
    reseed_below: float = 0.0
    epsilon: float = 1e-5  # Laplace smoothing of the counts, written back into them

    def setup(self) -> None:
        """Declares the codebook's variables."""
        shape = (self.num_codes, self.code_dim)

        def normal() -> jax.Array:
            return initializers.normal(1.0)(self.make_rng("params"), shape)

        self.codes = self.variable("codebook", "codes", normal)
        self.cluster_size = self.variable(
            "codebook", "cluster_size", jnp.zeros, (self.num_codes,), jnp.float32
        )
        self.ema_sum = self.variable("codebook", "ema_sum", normal)

    def __call__(self, features: jax.Array) -> Quantized:
        """Quantizes features [n, h, w, d] of any float dtype (DSR: commitment loss)."""
        features = features.astype(jnp.float32)
        table = self.codes.value
        codes = nearest_code(jax.lax.stop_gradient(features), table)
        nearest = jnp.take(table, codes, axis=0)
        commitment = self.commitment_cost * jnp.square(nearest - features).mean()
        values = features + jax.lax.stop_gradient(nearest - features)
        return Quantized(values, codes, commitment)

    def moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean [d] of the codes and their standard deviation (a scalar, over all dimensions).

        Codes are weighted by their moving counts; in a book without counts, alike.
        """
        size = self.cluster_size.value
        weight = jnp.where(size.sum() > 0, size, 1.0)[:, None]
        weight = weight / weight.sum()
        mean = (weight * self.codes.value).sum(0)
        variance = (weight * jnp.square(self.codes.value - mean)).sum(0).mean()
        # A book whose codes are all alike must not make the features' errors infinite.
        return mean, jnp.sqrt(jnp.maximum(variance, 1e-12))

    def ema_update(self, features: jax.Array, codes: jax.Array) -> None:
        """Moves the book by features float [n, h, w, d] of a batch and their codes int32 [n, h, w].

        The collection ``codebook`` must be mutable. DSR: codebook update.
        """
        features = jax.lax.stop_gradient(features).astype(jnp.float32).reshape(-1, self.code_dim)
        codes = codes.reshape(-1)
        counts = code_counts(codes, self.num_codes)
        size = self.cluster_size.value * self.decay + (1 - self.decay) * counts
        total = size.sum()
        size = (size + self.epsilon) / (total + self.num_codes * self.epsilon) * total
        sums = jnp.zeros_like(self.ema_sum.value).at[codes].add(features)
        ema_sum = self.ema_sum.value * self.decay + (1 - self.decay) * sums
        if self.reseed_below > 0:
            key = self.make_rng("codebook")
            draws = jax.random.randint(key, (self.num_codes,), 0, features.shape[0])
            dead = size < self.reseed_below
            ema_sum = jnp.where(dead[:, None], features[draws], ema_sum)
            size = jnp.where(dead, 1.0, size)
        self.cluster_size.value = size
        self.ema_sum.value = ema_sum
        self.codes.value = ema_sum / size[:, None]
