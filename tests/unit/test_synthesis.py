"""Anomalies: their distributions, and what must never happen."""

import jax
import jax.numpy as jnp
import numpy as np

from vqad.anomalies.augment import random_gray, random_rotation, rotate
from vqad.anomalies.features import (
    draw_disturbance,
    draw_ranks,
    pool_mask,
    replace_codes,
    target_mask,
)
from vqad.anomalies.perlin import perlin_mask, perlin_masks
from vqad.anomalies.smudge import random_smudges, smudge
from vqad.kernels.ranks import codes_at_ranks, select_rank

SIZE = (64, 96)
SHAPE = (2000, 32, 32, 3)


def test_half_of_the_masks_are_empty_by_coin_and_the_rest_cover_a_share():
    masks = np.asarray(jax.jit(lambda k: perlin_masks(k, 600, SIZE))(jax.random.key(0)))
    assert set(np.unique(masks)) == {0.0, 1.0}
    share = masks.mean((1, 2, 3))
    # The authors' generator (NumPy noise, SciPy rotation, 1500 draws at this size): 0.531 of the
    # masks are empty, as coarse noise can stay below the threshold, and 0.0184 of pixels masked.
    assert 0.48 < (share == 0).mean() < 0.58
    assert 0.014 < masks.mean() < 0.024


def test_masks_depend_on_the_key_alone():
    keys = jax.random.split(jax.random.key(3))
    first, second = (np.asarray(perlin_masks(k, 16, SIZE)) for k in keys)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, jax.jit(lambda k: perlin_masks(k, 16, SIZE))(keys[0]))


def test_cells_and_angles_of_masks_are_uniform(monkeypatch):
    def cells_alone(turns, cells, size):
        return jnp.zeros(size).at[jnp.log2(cells[0]).round().astype(int), cells[1]].set(1)

    def turned(image, degrees):
        return image.at[0, ((degrees + 90) // 20).astype(int)].set(1)

    def draws(count=3000):
        keys = jax.random.split(jax.random.key(4), count)
        return np.asarray(jax.vmap(lambda k: perlin_mask(k, SIZE))(keys))[..., 0]

    monkeypatch.setattr("vqad.anomalies.perlin.perlin_noise", cells_alone)
    monkeypatch.setattr("vqad.anomalies.perlin.rotate", lambda image, degrees: image)
    seen = draws().sum(0)
    powers = 2 ** np.arange(6)
    pairs = seen[:6, powers]
    assert pairs.sum() == seen.sum() == 3000
    assert np.abs(pairs / (3000 / 36) - 1).max() < 0.45  # 4 standard deviations
    monkeypatch.setattr("vqad.anomalies.perlin.perlin_noise", lambda *_: jnp.zeros(SIZE))
    monkeypatch.setattr("vqad.anomalies.perlin.rotate", turned)
    angles = draws().sum(0)[0]
    assert angles[9:].sum() == 0
    assert np.abs(angles[:9] / (3000 / 9) - 1).max() < 0.25


def test_fewer_cells_make_larger_pieces():
    def edges(max_cells):
        masks = jax.jit(lambda k: perlin_masks(k, 200, SIZE, max_cells))(jax.random.key(2))
        return np.abs(np.diff(masks, axis=1)).sum() / np.sum(masks)

    assert edges(8) < 0.6 * edges(32)


def test_gray_images_have_three_equal_channels_and_their_luma():
    images = jax.random.uniform(jax.random.key(0), (400, 2, 2, 3))
    found = np.asarray(random_gray(jax.random.key(1), images, 0.3))
    gray = np.ptp(found, axis=-1).max((1, 2)) == 0
    assert abs(gray.mean() - 0.3) < 0.07
    np.testing.assert_array_equal(found[~gray], images[~gray])
    luma = np.asarray(images)[gray] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found[gray][..., 0], luma, atol=1e-6)


def test_draws_have_their_distributions():
    draws = jax.jit(lambda k: draw_disturbance(k, 2000, (32, 32)))(jax.random.key(1))
    for strength in (draws.strength_lo, draws.strength_hi):
        assert 0.2 <= strength.min() < 0.21
        assert 0.99 < strength.max() < 1
        assert abs(strength.mean() - 0.6) < 0.02
    both, lo, hi = (np.asarray(x) for x in (draws.use_both, draws.lo, draws.hi))
    assert abs(both.mean() - 0.5) < 0.04
    assert abs((lo & ~hi).mean() - 0.25) < 0.04
    assert abs((hi & ~lo).mean() - 0.25) < 0.04
    assert (lo | hi).all()


def test_ranks_are_uniform_in_the_allowed_range():
    strength = jnp.asarray([0.2, 0.55, 0.9999])
    uniform = jax.random.uniform(jax.random.key(0), (3, 20000))
    ranks = np.asarray(draw_ranks(uniform, strength, 100))
    for row, high in zip(ranks, (21, 56, 99), strict=True):
        counts = np.bincount(row, minlength=100)
        assert counts[:5].sum() == counts[high:].sum() == 0
        expected = 20000 / (high - 5)
        assert np.abs(counts[5:high] / expected - 1).max() < 0.35


def test_select_rank_is_exact_with_ties_and_negative_values():
    rng = np.random.default_rng(0)
    values = rng.integers(-5, 5, (50, 40)).astype(np.float32) * rng.choice(
        [1, 1e-30, 1e20], (50, 1)
    )
    values = values.astype(np.float32)
    for rank in (0, 7, 39):
        index = np.asarray(select_rank(values, np.full(50, rank)))
        np.testing.assert_array_equal(
            np.take_along_axis(values, index[:, None], 1)[:, 0], np.sort(values, 1)[:, rank]
        )


def test_codes_change_only_under_the_mask_and_never_to_the_nearest():
    rng = np.random.default_rng(0)
    codes = jnp.asarray(rng.normal(size=(100, 4)).astype(np.float32))
    features = codes[rng.integers(0, 100, (2, 8, 8))]
    mask = np.zeros((2, 32, 32, 1), np.float32)
    mask[0, 5, 9] = 1
    ranks = jnp.full((2, 8, 8), 5, jnp.int32)
    changed = np.asarray(
        (replace_codes(features, features, codes, mask, ranks) != features).any(-1)
    )
    assert changed[0, 1, 2]
    assert changed.sum() == 1


def test_codes_are_the_same_wherever_they_are_wanted(monkeypatch):
    features = jax.random.normal(jax.random.key(0), (3, 8, 12, 4))
    codes = jax.random.normal(jax.random.key(1), (32, 4))
    ranks = jax.random.randint(jax.random.key(2), (3, 8, 12), 0, 32)
    whole = np.asarray(codes_at_ranks(features, codes, ranks, jnp.ones(ranks.shape, bool)))
    distance = np.square(np.asarray(features)[..., None, :] - codes).sum(-1)
    want = np.take_along_axis(np.argsort(distance, axis=-1), np.asarray(ranks)[..., None], -1)
    np.testing.assert_array_equal(whole, np.asarray(codes)[want[..., 0]])
    monkeypatch.setattr("vqad.kernels.ranks._DISTANCES_AT_A_TIME", 3 * 12 * 32)
    for share in (0.0, 0.02, 0.3, 1.0):
        wanted = np.array(jax.random.uniform(jax.random.key(3), ranks.shape) < share)
        wanted[1] = False
        found = np.asarray(jax.jit(codes_at_ranks)(features, codes, ranks, wanted))
        np.testing.assert_array_equal(found[wanted], whole[wanted])


def test_target_has_the_resolution_of_the_coarsest_disturbed_grid():
    mask = np.zeros((2, 32, 32, 1), np.float32)
    mask[:, 9, 13] = 1
    target = np.asarray(target_mask(mask, jnp.asarray([True, False])))[..., 0]
    want = np.zeros((2, 32, 32))
    want[0, 8:16, 8:16] = 1
    want[1, 8:12, 12:16] = 1
    np.testing.assert_array_equal(target, want)
    assert pool_mask(mask, 8).sum() == 2


def test_rotation_turns_about_the_centre():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 8, 3)).astype(np.float32))
    np.testing.assert_allclose(rotate(image, 0.0), image, atol=1e-6)
    np.testing.assert_allclose(rotate(image, 90.0), np.rot90(image), atol=1e-5)
    turned = rotate(jnp.ones((32, 32, 1)), 45.0)
    assert turned[0, 0, 0] == 0
    assert abs(turned[16, 16, 0] - 1) < 1e-6


def test_rotation_has_its_probability():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(500, 8, 8, 1)).astype(np.float32))
    turned = np.asarray(random_rotation(jax.random.key(0), images, 0.4))
    changed = (turned != np.asarray(images)).any((1, 2, 3)).mean()
    assert abs(changed - 0.4) < 0.07
    np.testing.assert_array_equal(random_rotation(jax.random.key(0), images, 0.0), images)


def test_rotations_are_uniform_up_to_90_degrees_either_way():
    y, x = np.mgrid[-4:5, -4:5].astype(np.float32)
    images = jnp.broadcast_to(jnp.stack([y, x], -1), (2000, 9, 9, 2))
    turned = np.asarray(random_rotation(jax.random.key(0), images, 1.0))
    sine, cosine = turned[:, 4, 6].T / 2  # what is two pixels to the right of the centre now
    degrees = np.rad2deg(np.arctan2(sine, cosine))
    assert -90 <= degrees.min() < -89
    assert 89 < degrees.max() <= 90
    assert np.abs(np.quantile(degrees, [0.25, 0.5, 0.75]) - [-45, 0, 45]).max() < 8


def test_smudges_blend_colour_under_the_mask():
    image = jnp.full((1, 32, 32, 3), 0.5)
    mask = jnp.zeros((1, 32, 32, 1)).at[0, 3, 4].set(1)
    found = smudge(image, mask, jnp.asarray([[1.0, 0.0, 0.5]]), jnp.asarray([0.25]))
    np.testing.assert_allclose(found[0, 3, 4], [0.875, 0.125, 0.5], atol=1e-6)
    assert (np.asarray(found) != np.asarray(image)).any(-1).sum() == 1
    images = jnp.full((400, 32, 32, 3), 0.5)
    smudged, masks = jax.jit(random_smudges)(jax.random.key(0), images)
    changed = (np.asarray(smudged) != 0.5).any(-1)
    assert not (changed & (np.asarray(masks)[..., 0] == 0)).any()
    assert 0.3 < masks.any((1, 2, 3)).mean() < 0.55
    assert smudged.min() >= 0
    assert smudged.max() <= 1


def test_colours_and_transparencies_of_smudges_are_uniform():
    smudged = jax.jit(lambda value: random_smudges(jax.random.key(1), value * jnp.ones(SHAPE)))
    (black, masks), (white, _) = (jax.device_get(smudged(value)) for value in (0.0, 1.0))
    some = masks.any((1, 2, 3))
    at = masks[some].reshape(some.sum(), -1).argmax(-1)
    low, high = (a[some].reshape(some.sum(), -1, 3)[range(some.sum()), at] for a in (black, white))
    beta = (high - low)[:, 0]  # (1 - beta) colour + beta image
    assert 0 <= beta.min() < 0.01
    assert 0.79 < beta.max() <= 0.8
    assert np.abs(np.quantile(beta, [0.25, 0.5, 0.75]) - [0.2, 0.4, 0.6]).max() < 0.05
    colour = low / (1 - beta[:, None])
    assert np.abs(np.quantile(colour, [0.25, 0.5, 0.75], axis=0).T - [0.25, 0.5, 0.75]).max() < 0.06
