"""DSR's Linen modules within a Flax NNX program: a head on its masks, trained alone."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import vqad


class Grader(nnx.Module):
    """How bad a defect is, from 0 to 1: DSR frozen, and a linear head on its masks."""

    def __init__(self, dsr, image, rngs):
        """Of a network and images float32 [n, h, w, 3], which give the shapes."""
        self.dsr = nnx.bridge.ToNNX(dsr, rngs=rngs).lazy_init(image)
        self.head = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, image):
        """Images float32 [n, h, w, 3] to grades [n]."""
        found = jax.lax.stop_gradient(self.dsr(image))
        seen = jnp.stack([found.score, found.upsampled_mask[..., 1].mean((1, 2))], -1)
        return nnx.sigmoid(self.head(seen))[:, 0]


def fit(grader, image, grade, steps=100):
    """Trains the head alone; returns the last loss."""
    head = nnx.All(nnx.PathContains("head"), nnx.Param)
    optimizer = nnx.Optimizer(grader, optax.adam(1e-2), wrt=head)

    @nnx.jit
    def step(grader, optimizer):
        loss, gradients = nnx.value_and_grad(
            lambda grader: jnp.mean((grader(image) - grade) ** 2), argnums=nnx.DiffState(0, head)
        )(grader)
        optimizer.update(grader, gradients)
        return loss

    return [step(grader, optimizer) for _ in range(steps)][-1]


if __name__ == "__main__":
    small = {"hiddens": 16, "residual_hiddens": 8, "code_dim": 8, "num_codes": 64}
    image = jax.random.uniform(jax.random.key(0), (4, 64, 64, 3))
    dsr = vqad.Dsr(**small, unet_width=8)
    grader = nnx.jit(Grader, static_argnums=0)(dsr, image, nnx.Rngs(0))
    print("parameters:", sum(leaf.size for leaf in jax.tree.leaves(nnx.state(grader, nnx.Param))))
    print("loss:", fit(grader, image, jnp.array([0.0, 0.2, 0.5, 1.0])))
