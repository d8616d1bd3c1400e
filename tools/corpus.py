"""Builds a corpus of freely licensed surface pictures to pretrain on.

python tools/corpus.py corpus --packages=debs

The pictures come from packages of Debian's section main, which ``apt-get download`` fetches into
``debs``, and from this project's drawn surfaces. The result is a folder that every stage reads:
``train/good/*.jpg``, ``test/good/*.jpg`` (held out, whole sources), ``sources.tsv`` (package, path
and SHA-256 of each picture's source), ``licences/`` (the packages' copyright files) and
``corpus.json`` (counts and the SHA-256 of everything). The same packages give the same bytes with
the Pillow that ``docs/corpus.md`` names.

``--pack=packed`` writes all pictures at 256 x 256 or less, small enough to carry elsewhere.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image

from vqad.data.surface_demo.textures import metal_tile
from vqad.data.surface_demo.textures import picture as picture_of_anything

# Debian 12: package, version, SHA-256 of the .deb.
PACKAGES = {
    "ufoai-textures": (
        "2.5-2",
        "51c9c6a778249a3fa432c81c8c30ac5675ae5a1e675a33b0ce04545753d3218c",
    ),
    "nexuiz-textures": (
        "2.5.2-12",
        "d1ebefbcc7c730f9b68c286f11d3430906c111a99e0c3ec60ad25a32de175510",
    ),
    "openarena-081-textures": (
        "0.8.5split-14",
        "72bf05abd5286a1523b56ca04e25bceb775813d747f92ecd20749d512361a81f",
    ),
    "redeclipse-data": (
        "1.6.0-1",
        "ada26453d3100bd61154ce20a699352f0b48bb29f8505f477ebdcb612f71ab42",
    ),
    "supertuxkart-data": (
        "1.4+dfsg-2",
        "568d69cda50dc8ad1facb89514bd14953dfca736fdb83c49ae330b0aa7dd2364",
    ),
    "torcs-data": (
        "1.3.7+dfsg-5",
        "33a170ec9db8bdf7e33cb07b96b9854d5ef9e47b1f82705e4c24d6caaf13fb99",
    ),
    "gnome-backgrounds": (
        "43.1-1",
        "a670dea21572652127d6e55f9cdb3a226d0037854fdbfd037003c7d00ee0dc4e",
    ),
    "lomiri-wallpapers-16.04": (
        "20.04.0-2",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    ),
    "lomiri-wallpapers-20.04": (
        "20.04.0-2",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
    ),
    "mate-backgrounds": (
        "1.26.0-1",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    ),
    "plasma-workspace-wallpapers": (
        "4:5.27.5-2",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
    ),
    "ukui-wallpapers": (
        "20.04.3-1.1",
        "6d49be70152e6d603163458e177e501deb0be8f2916389ccbfcf59b0d7fc0262",
    ),
}
NUM_DRAWN = 500
_DRAWN_SEED = 7  # the demo's is another, so that its surfaces are not among these
LARGEST = 512
HELD_OUT_EVERY = 25  # one source in so many is for test/good
JPEG = {"format": "JPEG", "quality": 90, "subsampling": 0}

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tga", ".webp")
_ARCHIVES = (".pk3", ".zip", ".pk4")
# Maps that are no pictures of a surface (normals, gloss, light), and parts of user interfaces.
_NO_SURFACE = re.compile(
    r"(^|[/_.-])(nm|sm|gm|rm|nor|norm|normal|normals|normalmap|gloss|glow|glowmap|bump|pants|shirt|"
    r"luma|spec|specular|height|disp|alpha|mask|blend|icons?|logos?|fonts?|hud|gui|guis|sky|skies|"
    r"skybox|env|flares?|particles?|crosshairs?|karts?|screenshots?|minimap|levelshots|emblems?|"
    r"mapshots?|nick|radar|progress|notextures?|thumb(nail)?s?)([/_.0-9-]|$)",
    re.IGNORECASE,
)


class Picture(NamedTuple):
    """A picture that was kept: its source, its JPEG bytes and what it looks like in small."""

    package: str
    path: str
    source_sha256: str
    data: bytes
    small: np.ndarray


def package_files(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Paths and bytes of a package's files, those inside of game archives too."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        for member in filter(tarfile.TarInfo.isfile, tar):
            data = tar.extractfile(member).read()
            name = member.name.removeprefix("./")
            if not name.lower().endswith(_ARCHIVES):
                yield name, data
                continue
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for inner in archive.namelist():
                    yield f"{name}:{inner}", archive.read(inner)


def reason_to_skip(image: Image.Image) -> str:
    """Why a decoded picture is no surface to learn from, or nothing."""
    if min(image.size) < 128:
        return "small"
    if max(image.size) > 4 * min(image.size):
        return "narrow"
    small = image.copy()
    small.thumbnail((256, 256))
    if "A" in small.mode or "transparency" in image.info:
        alpha = np.asarray(small.convert("RGBA"))[..., 3]
        if (alpha < 250).mean() > 0.02:
            return "transparent"
    pixels = np.asarray(small.convert("RGB"), np.float32)
    grey = pixels.mean(-1)
    if grey.std() < 6:
        return "flat"
    if (grey < 8).mean() > 0.5 or (grey > 247).mean() > 0.5:
        return "mostly black or white"
    normal = pixels / 127.5 - 1
    length = np.linalg.norm(normal, axis=-1)
    if (np.abs(length - 1) < 0.2).mean() > 0.8 and normal[..., 2].mean() > 0.6:
        return "normal map"
    return ""


def parts(image: Image.Image) -> list[Image.Image]:
    """A photograph's parts of 512 x 512, at half of its size or less; a texture as a whole."""
    short = min(image.size)
    if short <= 2 * LARGEST:
        scale = min(1.0, LARGEST / short)
        width, height = (max(LARGEST if scale < 1 else 0, round(s * scale)) for s in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        box = min(width, 2 * height), min(height, 2 * width)
        return [image.crop((0, 0, *box))]
    scale = 2 * LARGEST / short
    width, height = (round(s * scale) for s in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    columns, rows = width // LARGEST, height // LARGEST
    left, top = (width - columns * LARGEST) // 2, (height - rows * LARGEST) // 2
    return [
        image.crop((x, y, x + LARGEST, y + LARGEST))
        for y in range(top, top + rows * LARGEST, LARGEST)
        for x in range(left, left + columns * LARGEST, LARGEST)
    ]


def read(package: str, entry: tuple[str, bytes]) -> tuple[str, list[Picture]]:
    """Pictures of one file, or why there are none."""
    path, data = entry
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            image = opened
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "unreadable", []
    if reason := reason_to_skip(image):
        return reason, []
    digest = hashlib.sha256(data).hexdigest()
    return "kept", [
        _picture(package, path, digest, part)
        for part in parts(image.convert("RGB"))
        if not reason_to_skip(part)
    ]


def _picture(package: str, path: str, digest: str, image: Image.Image) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, **JPEG)
    small = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), np.float32)
    small = small.ravel() - small.mean()
    return Picture(
        package, path, digest, buffer.getvalue(), small / max(np.linalg.norm(small), 1e-6)
    )


def drawn(number: int) -> Picture:
    """One of this project's drawn surfaces."""
    rng = np.random.default_rng((_DRAWN_SEED, number))
    surface = (metal_tile if number % 2 else picture_of_anything)(rng, 256)
    image = Image.fromarray(np.rint(255 * np.clip(surface, 0, 1)).astype(np.uint8))
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return _picture("vqad", f"drawn/{number:04}", digest, image)


def without_duplicates(pictures: list[Picture], alike: float = 0.985) -> list[Picture]:
    """Leaves out what correlates with an earlier picture at 16 x 16, colours aside."""
    kept: list[Picture] = []
    seen = np.empty((len(pictures), 256), np.float32)
    for picture in pictures:
        if not kept or (seen[: len(kept)] @ picture.small).max() < alike:
            seen[len(kept)] = picture.small
            kept.append(picture)
    return kept


def fetch(package: str, folder: Path) -> Path:
    """The package's file in the folder, downloaded if need be and checked."""
    version, digest = PACKAGES[package]
    name = f"{package}_{version.replace(':', '%3a')}_all.deb"
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", f"{package}={version}"], cwd=folder, check=True)
    if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{folder / name}: not the package that was listed; delete it")
    return folder / name


def build(out: Path, debs: Path) -> dict:
    """Writes the corpus and returns what ``corpus.json`` says."""
    pictures, counts = [], {}
    (out / "licences").mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        for package in PACKAGES:
            entries = []
            for path, data in package_files(fetch(package, debs)):
                if path.endswith("/copyright"):
                    (out / "licences" / f"{package}.txt").write_bytes(data)
                inside = path.rsplit(":", 1)[-1]
                if inside.lower().endswith(_SUFFIXES) and not _NO_SURFACE.search(inside):
                    entries.append((path, data))
            entries.sort()
            found = list(pool.map(partial(read, package), entries, chunksize=8))
            counts[package] = dict(sorted(Counter(reason for reason, _ in found).items()))
            pictures += [picture for _, several in found for picture in several]
        pictures += pool.map(drawn, range(NUM_DRAWN), chunksize=8)
    kept = without_duplicates(pictures)
    total = _write(out, kept)
    result = {
        "pillow": PIL.__version__,
        "files": counts,
        "near_duplicates": len(pictures) - len(kept),
        "pictures": dict(sorted(Counter(p.package for p in kept).items())),
        "sha256": total,
    }
    (out / "corpus.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def _write(out: Path, kept: list[Picture]) -> str:
    """Writes pictures and ``sources.tsv``; the SHA-256 of all of it."""
    for split in ("train", "test"):
        (out / split / "good").mkdir(parents=True)
    lines, total, order = ["picture\tpackage\tpath\tsource_sha256"], hashlib.sha256(), {}
    for number, picture in enumerate(kept):
        place = order.setdefault((picture.package, picture.path), len(order))
        split = "test" if place % HELD_OUT_EVERY == 0 else "train"
        name = f"{split}/good/{number:05}.jpg"
        (out / name).write_bytes(picture.data)
        total.update(picture.data)
        lines.append("\t".join((name, picture.package, picture.path, picture.source_sha256)))
    text = "\n".join(lines) + "\n"
    (out / "sources.tsv").write_text(text)
    total.update(text.encode())
    return total.hexdigest()


def pack(corpus: Path, out: Path, size: int, quality: int) -> int:
    """Writes all pictures' central squares, larger ones at a size; returns their bytes together."""
    total = 0
    for path in sorted(corpus.glob("*/good/*.jpg")):
        image = Image.open(path)
        left, top = ((side - min(image.size)) // 2 for side in image.size)
        box = (left, top, left + min(image.size), top + min(image.size))
        target = out / path.relative_to(corpus)
        target.parent.mkdir(parents=True, exist_ok=True)
        side = min(size, *image.size)
        resized = image.resize((side, side), Image.Resampling.LANCZOS, box)
        resized.save(target, "JPEG", quality=quality, optimize=True)
        total += target.stat().st_size
    return total


def main() -> None:
    """Builds the corpus, or packs one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("debs"))
    parser.add_argument("--pack", type=Path, help="folder for the small form of an existing corpus")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quality", type=int, default=70)
    arguments = parser.parse_args()
    if arguments.pack:
        total = pack(arguments.corpus, arguments.pack, arguments.size, arguments.quality)
        print(f"{arguments.pack}: {total / 2**20:.1f} MiB")
        return
    if arguments.corpus.exists() and any(arguments.corpus.iterdir()):
        raise SystemExit(f"{arguments.corpus}: not empty; give another folder")
    print(json.dumps(build(arguments.corpus, arguments.packages), indent=2))


if __name__ == "__main__":
    main()
