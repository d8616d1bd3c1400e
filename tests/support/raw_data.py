"""Small made-up raw data in the layouts of the public data sets."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (12, 16)  # height and width


def write_picture(path, mode="RGB", size=SIZE, **options):
    """A picture of noise, another one for each name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path).encode()))
    noise = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    noise.convert(mode).save(path, **options)


def write_16_bit_colours(path, size=SIZE):
    """A PNG that Pillow reads as 8-bit RGB, but other decoders as 16-bit."""
    height, width = size
    rows = np.random.default_rng(0).integers(0, 65536, (height, 3 * width)).astype(">u2")
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)  # each row unfiltered
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(pixels),
        b"IEND": b"",
    }
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks.items():
        checksum = zlib.crc32(kind + body)
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    Path(path).write_bytes(data)


def write_mask(path, value=255, size=SIZE):
    """A mask with a defect of `value`, in rows 2 to 4 of 12; 0 makes it black."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    height, width = size
    mask[height // 6 : height * 5 // 12, width * 3 // 16 : width * 9 // 16] = value
    Image.fromarray(mask).save(path)


def write_ksdd2(
    root,
    train=(10000, 10001),
    defects=(10258, 10060, 10047, 10021),
    test=(20000,),
    size=SIZE,
):
    """Good and defective training images, good test images, and 20003, which is defective."""
    ids = {"train": [*train, *defects], "test": [*test, 20003]}
    for split, numbers in ids.items():
        for number in numbers:
            value = 255 * (number in (*defects, 20003))
            write_picture(Path(root, split, f"{number}.png"), size=size)
            write_mask(Path(root, split, f"{number}_GT.png"), value, size)
    # The published archive holds such copies, and lists of splits.
    write_picture(Path(root, "train", "10301 (copy).png"))
    write_mask(Path(root, "train", "10301_GT (copy).png"))
    Path(root, "split_weakly_16.pyb").write_bytes(b"\x80")


def write_mvtec(root, defects=None, size=SIZE):
    """Two good training pictures a category, one good test picture, one of each defect."""
    defects = defects or {"bottle": ("broken_large", "contamination"), "zipper": ("rough",)}
    for category, names in defects.items():
        folder = Path(root, category)
        for picture in ("train/good/000", "train/good/001", "test/good/000"):
            write_picture(folder / f"{picture}.png", size=size)
        for name in names:
            write_picture(folder / "test" / name / "000.png", size=size)
            write_mask(folder / "ground_truth" / name / "000_mask.png", size=size)
    Path(root, "readme.txt").write_text("MVTec AD")


def write_visa(root, objects=("candle", "pcb1")):
    """Two good training pictures an object, one good and one anomalous test picture."""
    rows = ["object,split,label,image,mask"]
    for name in objects:
        for number, split in enumerate(["train", "test", "train"]):
            picture = f"{name}/Data/Images/Normal/{number:04}.JPG"
            write_picture(Path(root, picture), format="JPEG")
            rows.append(f"{name},{split},normal,{picture},")
        picture, mask = f"{name}/Data/Images/Anomaly/000.JPG", f"{name}/Data/Masks/Anomaly/000.png"
        write_picture(Path(root, picture), format="JPEG")
        write_mask(Path(root, mask), value=3)  # the number of a class of defects
        rows.append(f"{name},test,anomaly,{picture},{mask}")
    Path(root, "split_csv").mkdir()
    Path(root, "split_csv", "1cls.csv").write_text("\n".join(rows) + "\n")


def write_kolektor(root):
    """Four items of two grey parts, the second part of items 1 and 2 defective."""
    for item in (1, 2, 3, 4):
        for part in (0, 5):
            stem = Path(root, f"kos{item:02}", f"Part{part}")
            write_picture(stem.with_suffix(".jpg"), "L")
            write_mask(f"{stem}_label.bmp", 255 * (item < 3 and part == 5))


def write_magnetic_tile(root):
    """Tiles 5, 6 and 8 good, 7 good at one exposure and cracked at another."""
    names = {"Free": ("exp1_num_5", "exp2_num_5", "exp1_num_6", "exp1_num_8", "exp2_num_7")}
    names |= {"Crack": ("exp1_num_7",), "Fray": ("exp6_num_9",)}
    for kind, stems in names.items():
        for stem in stems:
            path = Path(root, f"MT_{kind}", "Imgs", stem)
            write_picture(f"{path}.jpg", "L")
            write_mask(f"{path}.png", 255 * (kind != "Free"))


def write_pictures(root):
    """One file of each kind, in folders."""
    write_picture(Path(root, "a", "plain.jpg"))
    write_picture(Path(root, "a", "grey.PNG"), "L")
    write_picture(Path(root, "b", "c", "colour.png"))
    write_picture(Path(root, "b", "scan.tif"))
