"""Hostile pictures, prepared data sets and archives; see `tests/support/hostile.py`."""

import io
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import raw_data
import tifffile
from hypothesis import strategies as st
from mutations import TEXTS, changed_bytes, changed_tree, read_tree, write_tree
from PIL import Image

CHOSEN = st.sampled_from
_MEMBERS = [
    ("../outside/x", tarfile.REGTYPE, 5),
    ("/tmp/vqad-outside", tarfile.REGTYPE, 5),
    ("train/../../../outside/1.png", tarfile.REGTYPE, 5),
    ("C:\\x", tarfile.REGTYPE, 5),
    ("train/7.png", tarfile.SYMTYPE, 0),
    ("train/7.png", tarfile.LNKTYPE, 0),
    ("train/7.png", tarfile.FIFOTYPE, 0),
    ("train/7.png", tarfile.CHRTYPE, 0),
    ("train/7.png", tarfile.REGTYPE, 2**22),
    ("train/7.png", tarfile.REGTYPE, 2**50),
    ("train/7.png", tarfile.REGTYPE, -512),
    ("x", tarfile.GNUTYPE_LONGNAME, 2**50),
    ("x", tarfile.GNUTYPE_LONGNAME, -512),
    ("x", tarfile.XHDTYPE, 2**33),
    ("train/7.png", tarfile.GNUTYPE_SPARSE, 2**50),
    ("train/10000.png", tarfile.REGTYPE, 5),
    ("train/10000.png/x", tarfile.REGTYPE, 5),
    ("train", tarfile.REGTYPE, 5),
    ("x/train/10000.png", tarfile.REGTYPE, 5),
]


class Pictures:
    """Pictures and masks, and folders of them."""

    def __init__(self, folder):
        pictures = list(_encoded_pictures())
        raw_data.write_mvtec(folder / "mvtec", {"bottle": ("crack",)})
        raw_data.write_ksdd2(folder / "ksdd2", train=(10000,), defects=(10258,))
        trees = [read_tree(folder / "mvtec" / "bottle"), read_tree(folder / "ksdd2")]
        self.sound = [*pictures[:-2], *trees]  # the last ones are of formats that are refused
        picture = CHOSEN(pictures).flatmap(changed_bytes)
        self.samples = st.one_of(picture, picture, CHOSEN(trees).flatmap(changed_tree))

    def lay(self, sample, work):
        if not isinstance(sample, bytes):
            write_tree(sample, work / "data")

    def read(self, sample, work, strict=False):
        from vqad.data.checks import leaks
        from vqad.data.sources import open_source
        from vqad.errors import VqadError

        if isinstance(sample, bytes):
            _decode_every_way(sample, strict)
            return
        for split, labelled in (("train", True), ("test", False)):
            try:
                source = open_source(str(work / "data"), split, (32, 32), labelled=labelled)
                for index in range(len(source)):
                    source[index]
                list(leaks(source, source))
            except VqadError:
                if strict:
                    raise


def _encoded_pictures():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    deep = Image.fromarray(np.arange(108, dtype=np.uint16).reshape(9, 12) * 600)
    turned = Image.Exif()
    turned[0x0112] = 6
    for picture, how in [
        *((noise.convert(mode), {"format": "PNG"}) for mode in ("RGB", "RGBA", "L", "P", "1")),
        *((noise.convert(mode), {"format": "JPEG"}) for mode in ("RGB", "L", "CMYK")),
        *((noise.convert(mode), {"format": "BMP"}) for mode in ("RGB", "P", "1")),
        *((noise.convert(m), {"format": "TIFF"}) for m in ("RGB", "P", "1", "CMYK", "F", "I")),
        *((deep, {"format": name}) for name in ("PNG", "TIFF")),
        *(
            (noise, {"format": "TIFF", "compression": name})
            for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
        ),
        (noise, {"format": "JPEG", "exif": turned, "progressive": True}),
        (noise, {"format": "PNG", "exif": turned, "dpi": (72, 72), "icc_profile": b"x" * 200}),
        (noise, {"format": "PNG", "save_all": True, "append_images": [noise]}),
        (noise, {"format": "TIFF", "save_all": True, "append_images": [deep]}),
        (noise, {"format": "WEBP", "save_all": True, "append_images": [noise]}),
        (noise, {"format": "WEBP", "lossless": True}),
        (noise, {"format": "MPO", "save_all": True, "append_images": [noise]}),
        (noise, {"format": "JPEG2000"}),
        (deep, {"format": "JPEG2000"}),
        *_tiffs(np.asarray(deep)),
        (noise, {"format": "GIF"}),
        (noise, {"format": "PPM"}),
    ]:
        if isinstance(picture, bytes):
            yield picture
            continue
        data = io.BytesIO()
        picture.save(data, **how)
        yield data.getvalue()


def _tiffs(deep):
    """TIFF that Pillow does not read, or not right."""
    colour = np.dstack([deep] * 3)
    for values, how in [
        (deep, {"photometric": "miniswhite", "bigtiff": True}),
        (deep, {"compression": "lzw", "predictor": True, "extratags": [(274, 3, 1, 6, True)]}),
        (deep, {"compression": "deflate", "tile": (16, 16)}),
        (deep, {"compression": "zstd"}),
        (deep, {"compression": "jpeg2000"}),
        (colour, {"photometric": "rgb", "compression": "packbits"}),
        (colour.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.dstack([colour, deep]), {"photometric": "separated"}),
        ((deep / 65535).astype(np.float16), {}),
        (deep / 65535, {"compression": "deflate", "predictor": True}),
        (np.stack([deep] * 3), {"photometric": "minisblack"}),
        (np.stack([deep] * 3), {"imagej": True}),
    ]:
        data = io.BytesIO()
        tifffile.imwrite(data, values, **how)
        yield data.getvalue(), {}


def _decode_every_way(data, strict):
    from vqad.data import decode
    from vqad.data.builders.encoding import encode_picture
    from vqad.data.formats import FORMATS
    from vqad.errors import VqadError

    def by_pillow(data, name):
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Exception:  # whoever gives an image has opened it
            return
        decode.decode(picture, None, name)

    for read in (
        decode.read_header,
        decode.decode_image,
        decode.read_mask,
        decode.decode_mask,
        lambda data, name: decode.decode(data, None, name, (0, 4095)),
        by_pillow,
        lambda data, name: decode.decode(data, (32, 64), name),
        encode_picture,
    ):
        try:
            read(data, "it.png")
        except VqadError as error:
            if strict and not re.search("value_range| pages", str(error)):
                raise


class Prepared:
    """Prepared data sets, with a builder of vqad's or known by their files alone."""

    def __init__(self, folder):
        from vqad.data.builders import prepare

        raw_data.write_ksdd2(folder / "raw", train=(10000, 10001), defects=(10258,))
        data = folder / "data"
        built = prepare("ksdd2", "supervised_16", folder / "raw", data, allow_partial=True)
        ours = read_tree(data)
        inside = Path(built.data_path).relative_to(data)
        only_files = {
            name.replace(str(inside), "borrowed/1.0.0"): content.replace(b"ksdd2", b"borrowed")
            if name.endswith(".json")
            else content
            for name, content in ours.items()
        }
        only_files = {name.replace("ksdd2-", "borrowed-"): c for name, c in only_files.items()}
        self.sound = [("tfds:ksdd2/supervised_16", ours), ("tfds:borrowed", only_files)]
        names = ["", "a:b", "huggingface:x", "ksdd2/x/y=1", "/", "borrowed:1", *TEXTS]
        names = CHOSEN([f"tfds:{name}" for name in names])
        changed = [st.tuples(st.just(spec), changed_tree(tree)) for spec, tree in self.sound]
        self.samples = st.one_of(*changed, *changed, st.tuples(names, st.just(only_files)))

    def lay(self, sample, work):
        write_tree(sample[1], work)

    def read(self, sample, work, strict=False):
        from vqad.data.sources import open_source
        from vqad.errors import VqadError

        spec, _ = sample
        for split, labelled in (("train", True), ("test", False)):
            try:
                source = open_source(
                    spec,
                    split,
                    (32, 32),
                    labelled=labelled,
                    data_dir=str(work),
                    allow_partial=True,
                )
                for index in range(len(source)):
                    source[index]
            except VqadError:
                if strict:
                    raise


class Archives:
    """Archives and folders of raw data that are prepared."""

    def __init__(self, folder):
        raw_data.write_ksdd2(folder, train=(10000,), defects=(10258,))
        self.files = read_tree(folder)
        members = st.lists(CHOSEN(_MEMBERS), max_size=2)
        packed = st.tuples(CHOSEN(["zip", "tar", "tar.gz", "tar.xz"]), members).map(self._packed)
        self.samples = st.one_of(
            packed,
            packed.flatmap(changed_bytes),
            packed.flatmap(changed_bytes),
            changed_tree(self.files),
        )
        self.sound = [self.files, *(self._packed((kind, [])) for kind in ("zip", "tar.gz"))]

    def _packed(self, sample):
        kind, members = sample
        data = io.BytesIO()
        if kind == "zip":
            with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in self.files.items():
                    archive.writestr(name, content)
                for name, type_, size in members:
                    info = zipfile.ZipInfo(name)
                    mode = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO}
                    info.external_attr = (mode.get(type_, stat.S_IFREG) | 0o644) << 16
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, bytes(min(max(size, 0), 2**22)))
        else:
            mode = f"w:{kind[4:]}"
            with tarfile.open(fileobj=data, mode=mode, format=tarfile.GNU_FORMAT) as archive:
                for name, content in self.files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                for name, type_, size in members:
                    info = tarfile.TarInfo(name)
                    info.type, info.size, info.linkname = type_, size, "../../outside/file"
                    archive.addfile(info)
                    archive.fileobj.write(bytes(min(max(size, 0), 2**22)))
        return data.getvalue()

    def lay(self, sample, work):
        (work / "scratch").mkdir()
        if isinstance(sample, bytes):
            (work / "raw").write_bytes(sample)
        else:
            write_tree(sample, work / "raw")

    def read(self, sample, work, strict=False):
        from vqad.data.builders import prepare
        from vqad.data.builders.files import open_files
        from vqad.data.builders.ksdd2 import Ksdd2

        raw, scratch = work / "raw", work / "scratch"
        pattern = r"(?:[^/]+/){1,2}(?P<name>(?:train|test)/\d+(?:_GT)?\.png)"
        files = open_files(raw, pattern, Ksdd2.IN_WORDS, scratch, Ksdd2.ARCHIVES)
        for name in files.names:
            files.read(name)
        prepare("ksdd2", "unsupervised", raw, work / "data", allow_partial=True)
