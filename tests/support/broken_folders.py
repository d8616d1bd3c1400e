"""A sound folder in MVTec layout, and ways to break it with what is said of each."""

import os
import shutil

import numpy as np
from PIL import Image

from vqad.data.doctor import examine

RNG = np.random.default_rng(0)


def write(path, size=(40, 48), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = RNG.integers(0, 256, size, np.uint8)
    Image.fromarray(noise if value is None else np.full(size, value, np.uint8)).save(path)


def write_mask(path, size=(40, 48), values=(255,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[8:16, 8 : 8 + len(values)] = values
    Image.fromarray(mask).save(path)


def write_deep(path, most, size=(40, 48)):
    Image.fromarray(RNG.integers(0, most + 1, size, np.uint16)).save(path)


def write_sound(folder):
    """A sound folder in MVTec layout with a labelled defect."""
    for name in ("train/good/0.png", "train/good/1.png", "train/dent/7.png"):
        write(folder / name)
    for name in ("test/good/0.png", "test/dent/0.png", "test/dent/1.png", "test/pit/0.png"):
        write(folder / name)
    for name in ("dent/0", "dent/1", "dent/7", "pit/0"):
        write_mask(folder / f"ground_truth/{name}_mask.png")


def make_ksdd2(root):
    shutil.rmtree(root / "ground_truth")
    for path in [*root.glob("*/good"), *root.glob("*/dent"), *root.glob("*/pit")]:
        shutil.rmtree(path)
    for number, value in ((1, 0), (2, 0), (3, 255)):
        for split in ("train", "test"):
            write(root / split / f"{number}.png")
            write_mask(root / split / f"{number}_GT.png", values=(value,))


def good_alone(root):
    for name in ("dent", "pit"):
        shutil.rmtree(root / "test" / name)
    for name in ("dent/0", "dent/1", "pit/0"):
        (root / f"ground_truth/{name}_mask.png").unlink()


def empty_good(root):
    for path in (root / "test/good").iterdir():
        path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def as_jpeg(path):
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


def nest(folder):
    """Moves what is in a folder one level down."""
    inner = folder / "images"
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path != inner:
            path.rename(inner / path.name)


def turn_image(path, orientation, size=(40, 48)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RNG.integers(0, 256, size, np.uint8)).save(path, exif=exif)


def turn_square(root):
    turn_image(root / "test/pit/0.png", 6, (48, 48))
    write_mask(root / "ground_truth/pit/0_mask.png", (48, 48))


def draw_mask_in_alpha(root):
    layers = np.zeros((40, 48, 4), np.uint8)
    Image.fromarray(layers).save(root / "ground_truth/pit/0_mask.png")


def save_pages(root):
    pages = [Image.fromarray(RNG.integers(0, 256, (40, 48), np.uint8)) for _ in range(3)]
    pages[0].save(root / "train/good/9.tif", save_all=True, append_images=pages[1:])


def link_out(root):
    write(root.parent / "elsewhere.png")
    (root / "train/good/2.png").symlink_to(root.parent / "elsewhere.png")


def link_folder_out(root):
    write(root.parent / "elsewhere/0.png")
    (root / "test/spot").symlink_to(root.parent / "elsewhere")
    write_mask(root / "ground_truth/spot/0_mask.png")


def break_link(root):
    (root / "train/good/5.png").symlink_to(root / "train/good/gone.png")


def break_ksdd2(root):
    make_ksdd2(root)
    (root / "train/2_GT.png").unlink()


def truncate_ksdd2_mask(root):
    make_ksdd2(root)
    cut(root / "test/3_GT.png")


def name_ksdd2_masks(root, change):
    make_ksdd2(root)
    for path in list(root.glob("*/*_GT.png")):
        path.rename(change(path))


def lower_masks(root):
    name_ksdd2_masks(root, lambda path: path.with_name(path.name.replace("_GT", "_gt")))


def masks_apart(root):
    for split in ("train", "test"):
        (root / split / "GT").mkdir(parents=True)
    name_ksdd2_masks(root, lambda path: path.parent / "GT" / path.name.replace("_GT", ""))


def nest_ksdd2(root):
    make_ksdd2(root)
    for split in ("train", "test"):
        nest(root / split)


def misspell_class(root):
    (root / "test/dent").rename(root / "test/dnet")


STOPPING = [
    ("truncated picture", lambda r: cut(r / "train/good/1.png"), "unreadable", "1.png: damaged or"),
    (
        "not a picture",
        lambda r: (r / "test/good/0.png").write_text("words"),
        "unreadable",
        "test/good/0.png: not a picture in a known format",
    ),
    (
        "truncated mask",
        lambda r: cut(r / "ground_truth/pit/0_mask.png"),
        "unreadable",
        "pit/0_mask.png: damaged or incomplete picture",
    ),
    (
        "empty file",
        lambda r: (r / "train/good/0.png").write_bytes(b""),
        "unreadable",
        "train/good/0.png: not a picture",
    ),
    (
        "mask called otherwise",
        lambda r: (r / "ground_truth/dent/1_mask.png").rename(r / "ground_truth/dent/1_gt.png"),
        "mask-missing",
        "1_gt.png is its mask, save it as {root}/ground_truth/dent/1_mask.png",
    ),
    (
        "mask folder of a class misspelt",
        lambda r: (r / "ground_truth/dent").rename(r / "ground_truth/dents"),
        "mask-missing",
        "{root}/ground_truth/dents/7_mask.png is its mask, save it as {root}/ground_truth/dent/7",
    ),
    (
        "mask folder misspelt",
        lambda r: (r / "ground_truth").rename(r / "Ground-Truth"),
        "layout",
        "rename {root}/Ground-Truth to {root}/ground_truth",
    ),
    (
        "masks one level too deep",
        lambda r: nest(r / "ground_truth/pit"),
        "mask-missing",
        "if {root}/ground_truth/pit/images/0_mask.png is its mask, save it as {root}/ground_truth",
    ),
    (
        "good test images misspelt",
        lambda r: (r / "test/good").rename(r / "test/goood"),
        "layout",
        "rename {root}/test/goood to {root}/test/good",
    ),
    (
        "mask of another size",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", (48, 40)),
        "mask-size",
        "pit/0_mask.png: mask of 40 x 48 for an image of 48 x 40 (width x height)",
    ),
    (
        "mask of raw pixels of a turned image",
        lambda r: turn_image(r / "test/pit/0.png", 6),
        "mask-size",
        "for an image of 40 x 48 (width x height); it fits before the image's EXIF orientation 6",
    ),
    ("several pages", save_pages, "unreadable", "train/good/9.tif: has 3 pages; save each"),
    (
        "empty mask of a labelled defect",
        lambda r: write_mask(r / "ground_truth/dent/7_mask.png", values=(0,)),
        "labelled-empty",
        "dent/7_mask.png: an empty mask of a labelled defect; draw",
    ),
    (
        "training and test picture of one name",
        lambda r: write(r / "train/dent/1.png"),
        "names-collide",
        "train/dent/1.png: {root}/test/dent/1.png has the same name",
    ),
    (
        "two pictures of one name and a mask",
        lambda r: write(r / "test/dent/1.bmp"),
        "names-collide",
        "test/dent/1.bmp: {root}/test/dent/1.png has the same name",
    ),
    ("link out of the folder", link_out, "outside", "train/good/2.png: a link that leads out of"),
    ("linked folder", link_folder_out, "outside", "test/spot: a link that leads out of {root}"),
    ("all one level too deep", nest, "layout", "one level deeper: give {root}/images; expected"),
    (
        "train misspelt",
        lambda r: (r / "train").rename(r / "Training"),
        "layout",
        "rename {root}/Training to {root}/train",
    ),
    (
        "test misspelt",
        lambda r: (r / "test").rename(r / "tset"),
        "layout",
        "rename {root}/tset to {root}/test",
    ),
    ("no good training pictures", lambda r: shutil.rmtree(r / "train"), "layout", "nothing to tra"),
    ("nothing in it", lambda r: [shutil.rmtree(p) for p in r.iterdir()], "layout", "no pictures"),
    (
        "class misspelt",
        misspell_class,
        "mask-missing",
        "{root}/ground_truth/dent/0_mask.png is its mask, save it as {root}/ground_truth/dnet/0_",
    ),
    ("broken link", break_link, "unreadable", "train/good/5.png: no such file"),
    (
        "KSDD2 masks in lower case",
        lower_masks,
        "layout",
        "{root}/test/1_gt.png is called as a mask",
    ),
    ("KSDD2 masks apart", masks_apart, "layout", "a folder called GT is not taken for good parts"),
    (
        "KSDD2 one level too deep",
        nest_ksdd2,
        "layout",
        "{root}/test/images up into {root}/test and what is in {root}/train/images up into",
    ),
    (
        "KSDD2 mask missing",
        break_ksdd2,
        "mask-missing",
        "2.png: no mask for this image; add {root}/train/2_GT.png",
    ),
    ("KSDD2 mask truncated", truncate_ksdd2_mask, "unreadable", "3_GT.png: damaged or incomplete"),
]


WARNING = [
    (
        "empty mask in test",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", values=(0,)),
        "mask-empty",
        "pit/0_mask.png: an empty mask",
    ),
    (
        "mask without a layer that shows",
        draw_mask_in_alpha,
        "mask-empty",
        "pit/0_mask.png: an empty mask",
    ),
    (
        "square image turned, its mask perhaps not",
        turn_square,
        "mask-turned",
        "pit/0_mask.png: its image is turned by EXIF orientation 6, and it is not",
    ),
    (
        "image upside down, its mask perhaps not",
        lambda r: turn_image(r / "test/pit/0.png", 3),
        "mask-turned",
        "pit/0_mask.png: its image is turned by EXIF orientation 3, and it is not",
    ),
    (
        "transparent parts",
        lambda r: Image.fromarray(RNG.integers(0, 256, (40, 48, 4), np.uint8)).save(
            r / "train/good/1.png"
        ),
        "alpha",
        "train/good/1.png: has transparent parts, of which the colour beneath is read",
    ),
    (
        "mask of greys",
        lambda r: write_mask(r / "ground_truth/pit/0_mask.png", values=(3, 128, 255)),
        "mask-values",
        "pit/0_mask.png: has 3 values beside 0 (3 to 255)",
    ),
    (
        "inverted mask",
        lambda r: write(r / "ground_truth/pit/0_mask.png", value=255),
        "mask-large",
        "pit/0_mask.png: marks nearly the whole image; is it inverted?",
    ),
    (
        "near-constant colour",
        lambda r: Image.new("RGB", (48, 40), (200, 30, 30)).save(r / "train/good/2.png"),
        "constant",
        "train/good/2.png: shows next to nothing",
    ),
    (
        "mask missing",
        lambda r: (r / "ground_truth/dent/1_mask.png").unlink(),
        "no-mask",
        "test/dent/1.png: no mask for this defect; to judge pixels too, add {root}/ground_truth/d",
    ),
    (
        "mask of a labelled defect missing",
        lambda r: (r / "ground_truth/dent/7_mask.png").unlink(),
        "no-label",
        "train/dent/7.png: no mask for this defect; to train with it, add {root}/ground_truth/dent",
    ),
    ("no good test picture", lambda r: shutil.rmtree(r / "test/good"), "no-test", "no good image"),
    ("good test folder empty", empty_good, "no-test", "no good image"),
    (
        "JPEG mask",
        lambda r: as_jpeg(r / "ground_truth/pit/0_mask.png"),
        "mask-jpeg",
        "pit/0_mask.jpg: a JPEG, which blurs edges",
    ),
    (
        "image in train and test",
        lambda r: shutil.copy(r / "train/good/1.png", r / "test/good/9.png"),
        "leak",
        "test/good/9.png: byte for byte the training image {root}/train/good/1.png",
    ),
    (
        "near-constant",
        lambda r: write(r / "train/good/2.png", value=80),
        "constant",
        "train/good/2.png: shows next to nothing",
    ),
    (
        "empty class",
        lambda r: (r / "test/scratch").mkdir(),
        "class-empty",
        "test/scratch: no pictures in it",
    ),
    (
        "12 of 16 bits",
        lambda r: write_deep(r / "train/good/1.png", most=4095),
        "dark",
        "train/good/1.png: no value above a quarter of its 16 bits",
    ),
    (
        "good test pictures alone",
        good_alone,
        "no-test",
        "{root}: no defective image in test; judging needs",
    ),
    ("no test split", lambda r: shutil.rmtree(r / "test"), "no-test", "test: no test split"),
    (
        "unused mask",
        lambda r: write_mask(r / "ground_truth/pit/8_mask.png"),
        "unused",
        "pit/8_mask.png: belongs to no image of this layout",
    ),
]


def told(root, **how):
    """The findings of a folder: names of files by check."""
    by_check = {}
    for finding in examine(str(root), **how).findings:
        by_check.setdefault(finding.check, set()).add(os.path.relpath(finding.path, root))
    return by_check
