"""Marks on images: what is marked, how much, and in which colours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqad.anomalies.marks import VISIBLE, random_marks


@pytest.fixture(scope="module")
def marked():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.uniform(0.3, 0.6, (64, 64, 64, 1)), 3, -1).astype(np.float32)
    image, mask = jax.jit(lambda k, x: random_marks(k, x, 8))(jax.random.key(0), jnp.asarray(grey))
    return grey, np.asarray(image), np.asarray(mask)


def test_nothing_changes_outside_of_the_mask_and_all_of_it_visibly(marked):
    before, after, mask = marked
    change = np.abs(after - before).max(-1, keepdims=True)
    assert set(np.unique(mask)) == {0, 1}
    assert (change[mask > 0] > VISIBLE).all()
    assert (change[mask == 0] <= VISIBLE).all()
    assert after.min() >= 0
    assert after.max() <= 1


def test_a_quarter_or_more_is_clean_and_marks_are_of_all_sizes(marked):
    before, after, mask = marked
    areas = mask.sum((1, 2, 3))
    clean = (after == before).all((1, 2, 3))
    # 64 images: a share of 1/4 has a deviation of 0.054; some marks are too faint to be seen.
    assert 0.1 < clean.mean() < 0.5
    assert np.all(areas[clean] == 0)
    seen = areas[areas > 0]
    assert (seen < 40).any()
    assert (seen > 150).any()


def test_grey_images_get_grey_marks(marked):
    _, after, _ = marked
    np.testing.assert_allclose(after[..., 0], after[..., 1], atol=1e-6)
    np.testing.assert_allclose(after[..., 0], after[..., 2], atol=1e-6)
