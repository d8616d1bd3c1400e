"""Public data sets with one rule each; KolektorSDD2, which has more, is in `ksdd2`."""

import csv
import re
from typing import NoReturn

from vqad.data.builders.base import FilesBuilder
from vqad.data.builders.files import Files
from vqad.data.layouts import DEFECT, GOOD, MVTEC, Layout, Record
from vqad.errors import VqadError


class MvtecAd(FilesBuilder):
    """MVTec AD: fifteen categories of objects and textures, 700 to 1024 pixels, with masks.

    One configuration a category. 3629 good images to train on; 467 good ones and 1258 with 73 kinds
    of defects to test.
    """

    FILES = r"(?:train|test|ground_truth)/[^/]+/[^/]+\.png"
    PREFIX = "(?:[^/]+/){0,2}CONFIG/"  # a category's folder may be given itself
    LAYOUT = MVTEC


class Visa(FilesBuilder):
    """VisA: twelve objects, some with several in a picture, about 1500 x 1000 pixels, with masks.

    One configuration an object. The split is the publishers' one-class split (1cls.csv): 8659 good
    images to train on; 962 good and 1200 defective ones to test. In the masks all classes of
    defects are 255.
    """

    SPLITS = "split_csv/1cls.csv"
    FILES = r"split_csv/1cls\.csv|CONFIG/Data/(?:Images/Normal|Images/Anomaly|Masks/Anomaly)/[^/]+"
    LAYOUT = Layout("", ("",))  # there are masks, and a table says which

    def records(self, files: Files) -> list[Record]:
        """The object's rows of the table."""
        rows = csv.DictReader(files.read(self.SPLITS).decode("utf-8-sig", "replace").splitlines())
        columns = {"object", "split", "label", "image", "mask"}
        labels = {"normal": GOOD, "anomaly": DEFECT}

        def refuse(what: str) -> NoReturn:
            raise VqadError(f"{files.path(self.SPLITS)}: {what}; get the published file")

        if missing := sorted(columns.difference(rows.fieldnames or ())):
            refuse(f"no column {' or '.join(missing)}")
        records = []
        for row in rows:
            if row["object"] != self.builder_config.name:
                continue
            if row["split"] not in ("train", "test") or row["label"] not in labels:
                refuse(f"a row with split '{row['split']}' and label '{row['label']}'")
            label = labels[row["label"]]
            masks = (row["mask"] or "it to the table",) if label == DEFECT else ()
            records.append(Record(row["image"] or "picture", masks, label, row["split"]))
        return records


class KolektorSdd(FilesBuilder):
    """KolektorSDD: commutators with cracks, 500 pixels wide, eight pictures around each item.

    399 pictures of 50 items, 52 of them defective, with masks. The archive has no split; here all
    pictures of an item stay together: those of items with an odd number (kos01, kos03 ...) are for
    training, without the defective ones, those of items with an even number for testing.
    """

    FILES = r"kos\d+/Part\d+(?:\.jpg|_label\.bmp)"
    LAYOUT = Layout(
        r"(?P<stem>kos\d+/Part\d+)\.jpg",
        (r"(?P<stem>kos\d+/Part\d+)_label\.bmp",),
        r"\g<stem>_label.bmp",
    )

    def arrange(self, records: list[Record]) -> list[Record]:
        """Splits by the number of the item."""
        odd = {record: int(re.search(r"\d+", record.name)[0]) % 2 for record in records}
        return [r._replace(split="train" if odd[r] else "test") for r in records]


class MagneticTile(FilesBuilder):
    """Magnetic tiles: grey pictures of several sizes with five kinds of defects and masks.

    952 good and 392 defective pictures. The archive has no split; here all pictures of a tile (the
    number in exp<N>_num_<number>.jpg; exp is the exposure) stay together: a tile is for testing if
    it is defective in a picture or if 4 divides its number, all others are for training.
    """

    FOLDER = r"MT_(?P<label>Free|Blowhole|Break|Crack|Fray|Uneven)"
    FILES = rf"{FOLDER}/Imgs/exp\d+_num_\d+\.(?:jpg|png)"
    LAYOUT = Layout(
        rf"{FOLDER}/Imgs/(?P<stem>exp\d+_num_\d+)\.jpg",
        (rf"{FOLDER}/Imgs/(?P<stem>exp\d+_num_\d+)\.png",),
        r"MT_\g<label>/Imgs/\g<stem>.png",
    )

    def arrange(self, records: list[Record]) -> list[Record]:
        """Keeps the pictures of a tile together."""
        tile = {record.name: int(re.search(r"_num_(\d+)", record.name)[1]) for record in records}
        damaged = {tile[record.name] for record in records if record.label != "Free"}

        def arranged(record: Record) -> Record:
            number = tile[record.name]
            split = "test" if number in damaged or number % 4 == 0 else "train"
            if record.label == "Free":
                return record._replace(label=GOOD, masks=(), split=split)
            return record._replace(label=record.label.lower(), split=split)

        return list(map(arranged, records))


class NaturalImages(FilesBuilder):
    """The pictures of a folder or an archive, in whatever folders they lie; split `train`."""

    FILES = r".+\.(?i:jpg|jpeg|png|bmp|tif|tiff)"
    PREFIX = "[^/]+/"
    LAYOUT = Layout(FILES)
