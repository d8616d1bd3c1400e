"""VisA."""

import csv
from collections.abc import Mapping

import tensorflow_datasets as tfds

from vqad.data.builders.base import Record, SurfaceBuilder, mask_for
from vqad.data.builders.files import Files
from vqad.errors import VqadError

SPLITS = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
NORMAL = {  # in train and in test; 100 anomalous images each
    "candle": (900, 100),
    "capsules": (542, 60),
    "cashew": (450, 50),
    "chewinggum": (453, 50),
    "fryum": (450, 50),
    "macaroni1": (900, 100),
    "macaroni2": (900, 100),
    "pcb1": (904, 100),
    "pcb2": (901, 100),
    "pcb3": (905, 101),
    "pcb4": (904, 101),
    "pipe_fryum": (450, 50),
}


class Visa(SurfaceBuilder):
    """VisA: twelve objects, some with several in a picture, about 1500 x 1000 pixels, with masks.

    One configuration an object. The split is the publishers' one-class split (1cls.csv): 8659 good
    images to train on; 962 good and 1200 defective ones to test. In the masks all classes of
    defects are 255.
    """

    BUILDER_CONFIGS = [  # noqa: RUF012  named and typed so by TFDS
        tfds.core.BuilderConfig(name=name, description=f"The object {name}") for name in NORMAL
    ]
    HOMEPAGE = "https://github.com/amazon-science/spot-diff"
    CITATION = """\
@inproceedings{zou2022spot,
  author = {Zou, Yang and Jeong, Jongheon and Pemula, Latha and Zhang, Dongqing and Dabeer, Onkar},
  title = {{SPot-the-Difference} Self-supervised Pre-training for Anomaly Detection and
           Segmentation},
  booktitle = {European Conference on Computer Vision},
  pages = {392--408},
  year = {2022},
}"""
    URL = "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar"
    ARCHIVES = ("VisA*.tar", "VisA*.zip")
    LAYOUT = (
        "split_csv/1cls.csv, <object>/Data/Images/Normal, <object>/Data/Images/Anomaly and "
        "<object>/Data/Masks/Anomaly"
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    Get {URL} (1.9 GB) and give its path or that of the folder it was extracted to"""

    def layout_pattern(self) -> str:
        """The object's files and the table of splits."""
        kinds = "Images/Normal|Images/Anomaly|Masks/Anomaly"
        files = rf"{self.builder_config.name}/Data/(?:{kinds})/[^/]+"
        return rf"(?:[^/]+/){{1,2}}(?P<name>split_csv/1cls\.csv|{files})"

    def records(self, files: Files) -> list[Record]:
        """The object's rows of the table."""
        path = files.path(SPLITS) if SPLITS in files else SPLITS
        rows = csv.DictReader(files.read(SPLITS).decode("utf-8-sig", "replace").splitlines())
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise VqadError(f"{path}: no column {' or '.join(missing)}; get the published file")
        return [
            self._record(files, path, row)
            for row in rows
            if row["object"] == self.builder_config.name
        ]

    def _record(self, files: Files, path: str, row: Mapping[str, str]) -> Record:
        if row["split"] not in ("train", "test") or row["label"] not in ("normal", "anomaly"):
            raise VqadError(
                f"{path}: row with split '{row['split']}' and label '{row['label']}', not train or "
                "test and normal or anomaly; get the published file"
            )
        if row["image"] not in files:
            raise VqadError(f"{path}: names {row['image']}, which is not there; add it")
        if row["label"] == "normal":
            return Record(row["split"], row["image"])
        mask = mask_for(files, row["image"], row["mask"])
        return Record(row["split"], row["image"], mask, "defect")

    def expected(self) -> Mapping[str, int]:
        """As published."""
        train, test = NORMAL[self.builder_config.name]
        return {
            "train good": train,
            "train defective": 0,
            "test good": test,
            "test defective": 100,
        }
