"""Errors by frequency band."""

import numpy as np
from scipy import ndimage

from vqad.evaluation.bands import BANDS, band_errors


def image():
    return np.random.default_rng(0).random((3, 64, 64, 3)).astype(np.float32)


def test_a_copy_has_no_error():
    found = band_errors(image(), image())
    assert all(found[f"1/{2**i}"] == 0 for i in range(1, BANDS + 1))


def test_a_flat_image_lacks_everything():
    flat = np.broadcast_to(image().mean((1, 2), keepdims=True), image().shape)
    found = band_errors(flat, image())
    np.testing.assert_allclose([found[f"1/{2**i}"] for i in range(1, BANDS + 1)], 1, rtol=1e-3)


def test_a_blur_lacks_what_is_fine():
    blurred = ndimage.gaussian_filter(image(), (0, 2, 2, 0))
    found = [band_errors(blurred, image())[f"1/{2**i}"] for i in range(BANDS, 0, -1)]
    assert found == sorted(found)
    assert found[0] < 0.1
    assert found[-1] > 0.95


def test_psnr():
    assert abs(band_errors(image() + 0.1, image())["PSNR"] - 20) < 1e-3
