"""Pictures as people hand them over: the same pixels whichever way they are given."""

import io
import struct

import imagecodecs
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from PIL import Image

from vqad.data.decode import decode, decode_image, read_header, read_mask
from vqad.data.formats import count_pages
from vqad.errors import VqadError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 3), np.uint8)
DEEP = GREY.astype(np.uint16) * 257
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be turned clockwise by 90 degrees


def pillow(values, kind="PNG", mode=None, **how):
    data, picture = io.BytesIO(), Image.fromarray(values)
    (picture.convert(mode) if mode else picture).save(data, kind, **how)
    return data.getvalue()


def tiff(values, **how):
    data = io.BytesIO()
    tifffile.imwrite(data, values, **how)
    return data.getvalue()


def packed_tiff(values):
    """Twelve bits a pixel, two pixels in three bytes, each row from a byte of its own."""
    bits = values[..., None] >> np.arange(11, -1, -1) & 1
    data = np.packbits(bits.reshape(len(values), -1), axis=1).tobytes()
    tags = {256: values.shape[1], 257: len(values), 258: 12, 259: 1, 262: 1}
    tags |= {273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: len(values), 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def rgb(grey):
    return np.repeat(grey[..., None], 3, axis=-1)


ALPHA = np.where(GREY > 99, 255, 0).astype(np.uint8)
DEEP_COLOUR = COLOUR.astype(np.uint16) * 256 + 77
SAME = {
    "EXIF": (pillow(COLOUR, exif=TURNED), np.rot90(COLOUR, -1)),
    "EXIF of 16 bits": (pillow(DEEP, exif=TURNED), rgb(np.rot90(GREY, -1))),
    "WebP": (pillow(COLOUR, "WEBP", lossless=True), COLOUR),
    "JPEG 2000": (imagecodecs.jpeg2k_encode(COLOUR, level=0), COLOUR),
    "JPEG 2000 of 16 bits": (imagecodecs.jpeg2k_encode(DEEP, level=0), rgb(GREY)),
    "RGBA": (pillow(np.dstack([COLOUR, ALPHA])), COLOUR),
    "grey and alpha": (pillow(np.dstack([rgb(GREY), ALPHA]), mode="LA"), rgb(GREY)),
    "16 bits a colour": (imagecodecs.png_encode(DEEP_COLOUR), COLOUR),
    "1 bit": (pillow(GREY > 99), rgb(ALPHA)),
    "TIFF turned": (tiff(GREY, extratags=[(274, 3, 1, 6, True)]), rgb(np.rot90(GREY, -1))),
    "TIFF of 16 bits turned": (
        tiff(DEEP, extratags=[(274, 3, 1, 8, True)]),
        rgb(np.rot90(GREY)),
    ),
    "TIFF of 12 bits": (packed_tiff(DEEP >> 4), rgb(GREY)),
    "white is zero": (tiff(255 - GREY, photometric="miniswhite"), rgb(GREY)),
    "white is zero, 16 bits": (tiff(65535 - DEEP, photometric="miniswhite"), rgb(GREY)),
    "big-endian": (tiff(DEEP, byteorder=">"), rgb(GREY)),
    "big TIFF": (tiff(DEEP, bigtiff=True), rgb(GREY)),
    "predictor": (tiff(DEEP, compression="lzw", predictor=True), rgb(GREY)),
    "tiles": (tiff(DEEP, compression="deflate", tile=(16, 16)), rgb(GREY)),
    "TIFF of 16-bit colours": (tiff(DEEP_COLOUR, photometric="rgb"), COLOUR),
    "CMYK": (
        tiff(np.dstack([255 - COLOUR, 0 * GREY]), photometric="separated"),
        COLOUR,
    ),
    "floats": (tiff((GREY / 255).astype(np.float32)), rgb(GREY)),
}
# Pillow opens none of them.
BY_FILE_ALONE = {
    "big TIFF, big-endian": (tiff(DEEP, bigtiff=True, byteorder=">"), rgb(GREY)),
    "planes of 16 bits": (
        tiff(np.moveaxis(DEEP_COLOUR, 2, 0), photometric="rgb", planarconfig="separate"),
        COLOUR,
    ),
    "half floats": (tiff((GREY / 255).astype(np.float16)), rgb(GREY)),
    "doubles": (tiff(GREY / 255), rgb(GREY)),
    "16-bit grey and alpha": (
        tiff(np.dstack([DEEP, DEEP]), photometric="minisblack", extrasamples=["unassalpha"]),
        rgb(GREY),
    ),
    "16-bit CMYK": (
        tiff(np.dstack([65535 - rgb(DEEP), 0 * DEEP]), photometric="separated"),
        rgb(GREY),
    ),
}


@pytest.mark.parametrize("kind", [*SAME, *BY_FILE_ALONE])
def test_a_file_is_read_as_its_tags_say(kind, tmp_path):
    data, expected = (SAME | BY_FILE_ALONE)[kind]
    path = tmp_path / "it"
    path.write_bytes(data)
    for given in (data, bytearray(data), path, str(path)):
        np.testing.assert_array_equal(decode_image(given), expected)
    assert read_header(path)[:2] == expected.shape[:2]


@pytest.mark.parametrize("kind", SAME)
def test_an_image_of_pillows_is_read_as_its_file(kind):
    data, expected = SAME[kind]
    lazy, loaded = (Image.open(io.BytesIO(data)) for _ in range(2))
    loaded.load()
    for image in (lazy, loaded):
        np.testing.assert_array_equal(decode_image(image), expected)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("values", [GREY, DEEP])
def test_a_turned_tiff_is_the_same_opened_by_pillow(turn, values, tmp_path):
    path = tmp_path / "it.tif"
    path.write_bytes(tiff(values, extratags=[(274, "H", 1, turn, True)]))
    with Image.open(path) as image:  # by its name, so that Pillow maps it into memory
        np.testing.assert_array_equal(decode_image(image), decode_image(path))
        image.load()  # it can still be read by others


def test_planes_of_16_bits_opened_by_pillow(tmp_path):
    path, planes = tmp_path / "it.tif", np.moveaxis(DEEP_COLOUR, -1, 0)
    path.write_bytes(tiff(planes, photometric="rgb", planarconfig="separate"))
    with Image.open(path) as image:
        np.testing.assert_array_equal(decode_image(image), COLOUR)


@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY[..., None],
        rgb(GREY),
        np.dstack([rgb(GREY), ALPHA]),
        DEEP,
        DEEP.astype(">u2"),
        GREY / 255,
        (GREY / 255).astype(np.float32)[..., None],
        (GREY / 255).astype(np.float16),
        jnp.asarray(GREY),
        jnp.asarray(GREY, jnp.float32) / 255,
        Image.fromarray(GREY),
        Image.fromarray(GREY).convert("RGBA"),
        Image.fromarray(GREY).convert("P"),
        Image.fromarray(DEEP),
        Image.fromarray((GREY / 255).astype(np.float32)),
    ],
)
def test_arrays_and_images_of_all_kinds_are_one_picture(array):
    image = decode_image(array)
    assert (image.shape, image.dtype) == ((6, 9, 3), np.uint8)
    np.testing.assert_array_equal(image, rgb(GREY))


def test_bool_is_black_and_white():
    np.testing.assert_array_equal(decode_image(GREY > 99), rgb(ALPHA))
    assert decode_image(jnp.ones((2, 2), jnp.bfloat16)).min() == 255


def test_a_value_range_scales_all_ways_alike(tmp_path):
    twelve = np.linspace(0, 4095, 54).round().astype(np.uint16).reshape(6, 9)
    expected = rgb(np.round(twelve / 4095 * 255).astype(np.uint8))
    ways = [twelve, twelve.astype(np.int64), twelve.astype(np.float32), Image.fromarray(twelve)]
    ways += [Image.fromarray(twelve.astype(np.int32)), pillow(twelve), tiff(twelve)]
    ways += [packed_tiff(twelve), tiff(twelve.astype(np.float32))]
    ways += [tiff(twelve.astype(np.int16)), imagecodecs.png_encode(rgb(twelve))]
    ways += [imagecodecs.jpeg2k_encode(twelve, bitspersample=12, level=0)]
    for way in ways:
        np.testing.assert_array_equal(decode_image(way, value_range=(0, 4095)), expected)
    # A negative is one in its own numbers.
    negative = tiff(4095 - twelve, photometric="miniswhite")
    np.testing.assert_array_equal(
        decode_image(negative, value_range=(0, 4095)),
        255 - decode_image(tiff(4095 - twelve), value_range=(0, 4095)),
    )
    # What has 8 bits needs none.
    np.testing.assert_array_equal(decode_image(GREY, value_range=(0, 4095)), rgb(GREY))
    with pytest.raises(VqadError, match="Pillow changes its numbers"):
        decode(Image.open(io.BytesIO(imagecodecs.png_encode(DEEP_COLOUR))), value_range=(0, 4095))


@pytest.mark.parametrize(
    ("picture", "value_range", "notes"),
    [
        (DEEP >> 4, None, [("dark", "its 16 bits")]),
        (pillow(DEEP >> 4), None, [("dark", "its 16 bits")]),
        (tiff(DEEP >> 4, photometric="miniswhite"), None, [("dark", "its 16 bits")]),
        (packed_tiff(DEEP >> 4), None, []),
        (imagecodecs.png_encode(DEEP_COLOUR >> 4), None, [("dark", "its 16 bits")]),
        (tiff(DEEP_COLOUR >> 4, photometric="rgb"), None, [("dark", "its 16 bits")]),
        (DEEP >> 4, (0, 4095), []),
        (DEEP, (0, 4095), [("clipped", f"{DEEP.min()} to {DEEP.max()}", "value_range 0 to 4095")]),
        (GREY / 255, (0, 4095), [("dark", "value_range 0 to 4095")]),
        (np.dstack([COLOUR, ALPHA]), None, [("alpha",)]),
        (pillow(np.dstack([COLOUR, ALPHA])), None, [("alpha",)]),
        (np.dstack([COLOUR, 0 * GREY]), None, []),
        (GREY // 8, None, []),
    ],
)
def test_what_is_left_out_or_changed_is_noted(picture, value_range, notes):
    assert [tuple(note) for note in decode(picture, value_range=value_range).notes] == notes


def test_pages_are_pictures_of_their_own(tmp_path):
    pages = [np.full((4, 5), value, np.uint8) for value in (10, 20, 30)]
    frames = [Image.fromarray(rgb(page)) for page in pages]
    files = {"t.tif": tiff(np.stack(pages), photometric="minisblack")}
    files["deep.tif"] = tiff(np.stack(pages).astype(np.uint16) * 257, photometric="minisblack")
    for name, kind, how in (("a.png", "PNG", {}), ("w.webp", "WEBP", {"lossless": True})):
        data = io.BytesIO()
        frames[0].save(data, kind, save_all=True, append_images=frames[1:], **how)
        files[name] = data.getvalue()
    for name, data in files.items():
        path = str(tmp_path / name)
        (tmp_path / name).write_bytes(data)
        assert count_pages(path) == 3
        for number, page in enumerate(pages):
            np.testing.assert_array_equal(decode_image(f"{path}[{number}]"), rgb(page))
        for read in (decode, read_header, read_mask):
            with pytest.raises(VqadError, match=rf"{name}: has 3 pages; save each"):
                read(path)
        with pytest.raises(VqadError, match=r"no page \[3\]"):
            decode(f"{path}[3]")
        # Of Pillow's image, it is the page that it is at.
        with Image.open(path) as image:
            image.seek(1)
            found = decode(image)
        np.testing.assert_array_equal(found.image, rgb(pages[1]))
        assert found.notes[0] == ("pages", "page 1 of 3")
    # A file's own name comes first.
    Image.fromarray(GREY).save(tmp_path / "x[0].png")
    (tmp_path / "x[0].png").rename(tmp_path / "x.png[0]")
    np.testing.assert_array_equal(decode_image(tmp_path / "x.png[0]"), rgb(GREY))


def test_thumbnails_and_previews_are_no_pages():
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as writer:
        writer.write(DEEP)
        writer.write(DEEP[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(decode_image(data.getvalue()), rgb(GREY))
    data = io.BytesIO()
    grey = Image.new("L", (16, 16), 80)
    grey.save(data, "MPO", save_all=True, append_images=[grey])
    assert decode(data.getvalue()).notes == [("pages", "the first of its 2 pictures")]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            tiff(np.zeros((4, 5, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
            "7 ch",
        ),
        (tiff(np.full((4, 5), np.nan, np.float32)), "no number"),
        (tiff(np.full((4, 5), 255, np.float32)), r"floats outside \[0, 1\], from 255 to 255"),
        (tiff(GREY.astype(np.int8)), "int8 values, of which nothing tells"),
        (tiff(np.zeros((4, 5), np.complex64)), "COMPLEX"),
        (tiff(np.zeros((16, 16, 16), np.uint16), volumetric=True, tile=(16, 16, 16)), "depth 16"),
        (tiff(np.zeros((3, 4, 5), np.uint16), photometric="minisblack")[:200], "damaged or incomp"),
        (tiff(DEEP, compression="lzw")[:-20], "damaged or incomplete"),
        (tiff(DEEP)[:-9], "damaged or incomplete"),
        (pillow(GREY, "GIF"), "not a picture in a known format"),
    ],
)
def test_what_cannot_be_read_right_is_refused_in_a_line(data, told):
    with pytest.raises(VqadError, match=rf"part\.tif: .*{told}") as caught:
        decode(data, name="part.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "told"), [("", "an empty path"), (5, "int; give a path")])
def test_what_is_no_picture_at_all(given, told):
    with pytest.raises(VqadError, match=f"^picture: {told}"):
        decode(given)


def with_entry(data, tag, value):
    """A little-endian TIFF with another value of a tag, or of the offset behind its tags (0)."""
    (count,) = struct.unpack_from("<H", data, 8)
    places = {struct.unpack_from("<H", data, 10 + 12 * i)[0]: 18 + 12 * i for i in range(count)}
    place = places[tag] if tag else 10 + 12 * count
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


@pytest.mark.parametrize(
    ("tag", "value", "told"),
    [(257, 12, "parts of it are missing"), (257, 0, "without pixels"), (0, 8, "a circle")],
)
def test_a_damaged_tiff_is_no_black_picture(tag, value, told):
    whole = tiff(DEEP, rowsperstrip=1)
    np.testing.assert_array_equal(decode_image(whole), rgb(GREY))
    with pytest.raises(VqadError, match=told):
        decode_image(with_entry(whole, tag, value))


def test_too_little_memory_damages_no_picture(monkeypatch, tmp_path):
    def no_room(*_, **__):
        raise MemoryError

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", no_room)
    with pytest.raises(VqadError, match="memory") as raised:
        decode(tmp_path / "a.png")
    assert "damaged" not in str(raised.value)


def test_a_tiff_that_would_fill_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(VqadError, match=r"bomb\.tif: has more pixels"):
        decode(tiff(DEEP), name="bomb.tif")


DRAWN = np.zeros((6, 9), np.uint8)
DRAWN[1:3, 2:6] = 255
INK = np.zeros((6, 9, 3), np.uint8)
INK[0, :4] = 40
INK[1:3, 2:6] = 200


@pytest.mark.parametrize(
    ("mask", "drawn"),
    [
        (np.dstack([0 * COLOUR, DRAWN]), DRAWN > 0),  # black on nothing
        (np.dstack([0 * COLOUR + 255, DRAWN]), DRAWN > 0),  # white everywhere, drawn in alpha
        (np.dstack([rgb(255 - DRAWN), DRAWN]), DRAWN > 0),  # black, on transparent white
        (np.dstack([rgb(DRAWN), DRAWN]), DRAWN > 0),
        (np.dstack([rgb(DRAWN), 0 * DRAWN + 255]), DRAWN > 0),  # nothing is transparent
        (np.dstack([rgb(DRAWN), 0 * DRAWN]), DRAWN > 0),  # all is: alpha says nothing
        # Several colours where it is opaque: black there is no defect.
        (np.dstack([INK, np.where(np.arange(9) < 8, 255, 0) + 0 * DRAWN]), INK[..., 0] > 0),
        (rgb(DRAWN), DRAWN > 0),
    ],
)
def test_a_mask_is_what_a_viewer_shows(mask, drawn):
    np.testing.assert_array_equal(read_mask(pillow(mask.astype(np.uint8))) > 0, drawn)


def test_a_mask_of_more_bits_or_inverted():
    deep = DRAWN.astype(np.uint16) // 100
    for data in (tiff(deep), tiff(65535 - deep, photometric="miniswhite"), pillow(deep)):
        np.testing.assert_array_equal(read_mask(data), deep)
    one = tiff(DRAWN > 0, photometric="minisblack")
    np.testing.assert_array_equal(read_mask(one) > 0, DRAWN > 0)
