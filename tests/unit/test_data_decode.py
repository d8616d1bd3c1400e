import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from vqad.data.decode import (
    decode,
    decode_image,
    decode_mask,
    read_header,
    resize_image,
    resize_mask,
)
from vqad.errors import VqadError

RAMP = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def encoded(picture, file_format="PNG", **options):
    data = io.BytesIO()
    picture.save(data, format=file_format, **options)
    return data.getvalue()


def encoded_tiff(values, **options):
    data = io.BytesIO()
    tifffile.imwrite(data, values, **options)
    return data.getvalue()


def png_of_16_bit_colours(values):
    """A PNG that Pillow reads but cannot write: big-endian uint16 [height, width, 3]."""

    def chunk(kind, body):
        body = kind + body
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = values.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_colours_written(file_format):
    data = encoded(Image.fromarray(COLOUR), file_format)
    np.testing.assert_array_equal(decode_image(data), COLOUR)


def test_jpeg_is_close():
    smooth = np.repeat(RAMP[..., None], 3, axis=2)
    image = decode_image(encoded(Image.fromarray(smooth), "JPEG", quality=95))
    assert np.abs(image.astype(int) - smooth).max() < 8


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "JPEG"])
def test_grey_becomes_three_equal_channels(file_format):
    image = decode_image(encoded(Image.fromarray(RAMP), file_format))
    assert image.shape == (48, 64, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - RAMP).max() < 8


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_is_scaled_by_257_and_rounded(file_format):
    values = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    values[0, :4] = 128, 129, 256, 65535
    image = decode_image(encoded(Image.fromarray(values), file_format))
    np.testing.assert_array_equal(image[..., 0], np.rint(values / 257).astype(np.uint8))


def test_of_16_bit_colours_the_high_bytes_are_read():
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(">u2")
    data = png_of_16_bit_colours(values)
    np.testing.assert_array_equal(decode_image(data), values >> 8)
    assert read_header(data)[2:4] == ("RGB", 16)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (RAMP.astype(np.float32), "floats outside"),
        (RAMP.astype(np.int32), "nothing tells what is white"),
        (RAMP.astype(np.int16), "nothing tells what is white"),
        (RAMP.astype(np.uint32), "nothing tells what is white"),
    ],
)
def test_of_what_has_no_range_of_its_own_it_is_asked_for(values, told):
    data = encoded_tiff(values)
    with pytest.raises(VqadError, match=rf"depth\.tif: .*{told}.*value_range"):
        decode_image(data, "depth.tif")
    np.testing.assert_array_equal(decode_image(data, value_range=(0, 255))[..., 1], RAMP)


def test_alpha_is_dropped_and_palettes_are_looked_up():
    alpha = np.where(RAMP > 99, 255, 0).astype(np.uint8)
    data = encoded(Image.fromarray(np.dstack([COLOUR, alpha])))
    np.testing.assert_array_equal(decode_image(data), COLOUR)
    few = np.asarray([[255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)[RAMP % 3]
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=3)
    np.testing.assert_array_equal(decode_image(encoded(palette)), few)
    with_bytes = encoded(palette, transparency=bytes([0, 255, 7]))
    np.testing.assert_array_equal(decode_image(with_bytes), few)


def test_exif_orientation_is_applied_also_to_the_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(COLOUR), exif=exif))
    np.testing.assert_array_equal(decode_image(path), np.rot90(COLOUR, -1))
    assert read_header(path)[:2] == (64, 48)


def test_mask_is_whatever_is_not_black():
    mask = np.zeros((8, 9), np.uint8)
    mask[2, 3:6] = 1, 128, 255
    expected = (mask > 0).astype(np.uint8)
    colour = np.zeros((8, 9, 3), np.uint8)
    colour[..., 2] = mask
    deep = mask.astype(np.uint16)  # small values of a 16-bit mask count too
    for values in (mask, colour, deep, mask > 0):
        result = decode_mask(encoded(Image.fromarray(values)))
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("file_format", "kept"), [("PNG", 0.5), ("JPEG", 0.5), ("TIFF", 0.6), ("BMP", 0.9), ("PNG", 60)]
)
def test_truncated_picture_is_named(file_format, kept, tmp_path):
    data = encoded(Image.fromarray(COLOUR), file_format)
    path = tmp_path / "broken.bin"
    path.write_bytes(data[: kept if kept > 1 else int(kept * len(data))])
    with pytest.raises(VqadError, match=r"broken\.bin: .*replace or remove it") as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


def test_something_else_than_a_picture_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(VqadError, match=r"notes\.png: not a picture in a known format"):
        decode_image(b"these are words", "notes.png")
    with pytest.raises(VqadError, match=r"gone\.png: no such file"):
        decode_image(tmp_path / "gone.png")


def test_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(VqadError, match=r"bomb\.png: has more pixels"):
        decode_image(encoded(Image.fromarray(COLOUR)), "bomb.png")


def test_resize_averages_what_it_reduces():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, (8, 16))
    assert small.shape == (8, 16, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 127).max() < 16
    assert resize_image(stripes, (64, 64)) is stripes


@pytest.mark.parametrize("size", [None, (32, 24), (100, 64), (64, 48), (48, 64)])
def test_resizing_while_decoding_gives_the_same_bits(size):
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    for data in (
        encoded(Image.fromarray(COLOUR), "JPEG", exif=turned),
        encoded(Image.fromarray(COLOUR).convert("P")),
        encoded(deep),
    ):
        image, own, *_ = decode(data, size)
        assert own == decode_image(data).shape[:2]
        np.testing.assert_array_equal(image, resize_image(decode_image(data), size or own))


@pytest.mark.parametrize("target", [(256, 256), (256, 128)])
@pytest.mark.parametrize("turn", [False, True])
def test_line_of_3_pixels_in_900_survives_at_256(target, turn):
    for start in range(400, 412):
        mask = np.zeros((900, 900), np.uint8)
        mask[start : start + 3] = 1
        small = resize_mask(mask.T if turn else mask, target)
        line = small.any(axis=0 if turn else 1)
        assert small.dtype == np.uint8
        assert 1 <= line.sum() <= 3
        assert small.sum() == line.sum() * target[0 if turn else 1]  # without gaps


def test_mask_with_a_defect_never_becomes_empty():
    for row in range(300, 330):
        mask = np.zeros((900, 900), np.uint8)
        mask[row, 2 * row] = 1
        small = resize_mask(mask, (128, 128))
        assert 1 <= small.sum() <= 4
        centres = (np.argwhere(small) + 0.5) * 900 / 128
        assert np.abs(centres - (row + 0.5, 2 * row + 0.5)).max() < 900 / 128
    assert resize_mask(np.zeros((900, 900), np.uint8), (128, 128)).sum() == 0


def test_mask_keeps_its_area():
    y, x = np.mgrid[:500, :700]
    mask = (np.hypot(y - 240, x - 300) < 100).astype(np.uint8)
    assert abs(resize_mask(mask, (128, 128)).mean() / mask.mean() - 1) < 0.1
    larger = resize_mask(mask, (1000, 1400))
    np.testing.assert_array_equal(larger, mask.repeat(2, axis=0).repeat(2, axis=1))
