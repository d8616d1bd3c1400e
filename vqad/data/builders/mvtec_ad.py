"""MVTec AD."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow_datasets as tfds

from vqad.data.builders.base import Record, SurfaceBuilder, mask_for
from vqad.data.builders.files import Files
from vqad.data.layouts import GOOD
from vqad.errors import VqadError


class _Category(NamedTuple):
    train: int
    good: int
    defective: int
    defects: str


CATEGORIES = {
    "bottle": _Category(209, 20, 63, "broken_large broken_small contamination"),
    "cable": _Category(
        *(224, 58, 92),
        "bent_wire cable_swap combined cut_inner_insulation cut_outer_insulation missing_cable "
        "missing_wire poke_insulation",
    ),
    "capsule": _Category(219, 23, 109, "crack faulty_imprint poke scratch squeeze"),
    "carpet": _Category(280, 28, 89, "color cut hole metal_contamination thread"),
    "grid": _Category(264, 21, 57, "bent broken glue metal_contamination thread"),
    "hazelnut": _Category(391, 40, 70, "crack cut hole print"),
    "leather": _Category(245, 32, 92, "color cut fold glue poke"),
    "metal_nut": _Category(220, 22, 93, "bent color flip scratch"),
    "pill": _Category(
        *(267, 26, 141), "color combined contamination crack faulty_imprint pill_type scratch"
    ),
    "screw": _Category(
        *(320, 41, 119), "manipulated_front scratch_head scratch_neck thread_side thread_top"
    ),
    "tile": _Category(230, 33, 84, "crack glue_strip gray_stroke oil rough"),
    "toothbrush": _Category(60, 12, 30, "defective"),
    "transistor": _Category(213, 60, 40, "bent_lead cut_lead damaged_case misplaced"),
    "wood": _Category(247, 19, 60, "color combined hole liquid scratch"),
    "zipper": _Category(
        *(240, 32, 119),
        "broken_teeth combined fabric_border fabric_interior rough split_teeth squeezed_teeth",
    ),
}


class MvtecAd(SurfaceBuilder):
    """MVTec AD: fifteen categories of objects and textures, 700 to 1024 pixels, with masks.

    One configuration a category. 3629 good images to train on; 467 good ones and 1258 with 73 kinds
    of defects to test.
    """

    BUILDER_CONFIGS = [  # noqa: RUF012  named and typed so by TFDS
        tfds.core.BuilderConfig(name=name, description=f"The category {name}")
        for name in CATEGORIES
    ]
    HOMEPAGE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
    CITATION = """\
@article{bergmann2021mvtec,
  author = {Bergmann, Paul and Batzner, Kilian and Fauser, Michael and Sattlegger, David and
            Steger, Carsten},
  title = {The {MVTec} Anomaly Detection Dataset: A Comprehensive Real-World Dataset for
           Unsupervised Anomaly Detection},
  journal = {International Journal of Computer Vision},
  volume = {129},
  number = {4},
  pages = {1038--1059},
  year = {2021},
}"""
    ARCHIVES = ("mvtec*.tar.xz", "mvtec*.zip")
    LAYOUT = (
        "<category>/train/good, <category>/test/<defect> and "
        "<category>/ground_truth/<defect>/<name>_mask.png"
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Get mvtec_anomaly_detection.tar.xz from
    https://www.mvtec.com/company/research/datasets/mvtec-ad (5 GB, for non-commercial use) and give
    its path or that of the folder it was extracted to"""

    def layout_pattern(self) -> str:
        """Files of the category, whose folder may be given itself."""
        file = r"(?:train|test|ground_truth)/[^/]+/[^/]+\.png"
        return rf"(?:[^/]+/){{0,2}}{self.builder_config.name}/(?P<name>{file})"

    def classes(self) -> Sequence[str]:
        """'good' and the category's defects."""
        return (GOOD, *CATEGORIES[self.builder_config.name].defects.split())

    def records(self, files: Files) -> list[Record]:
        """Every picture, its class from its folder."""
        records = []
        for name in files.names:
            split, label, file = name.split("/")
            if split == "ground_truth":
                continue
            if label not in self.classes():
                raise VqadError(
                    f"{files.path(name)}: {label} is no defect of {self.builder_config.name} "
                    f"({', '.join(self.classes())}); move or remove it"
                )
            mask = f"ground_truth/{label}/{file.removesuffix('.png')}_mask.png"
            mask = None if label == GOOD else mask_for(files, name, mask)
            records.append(Record(split, name, mask, label))
        return records

    def expected(self) -> Mapping[str, int]:
        """As published."""
        category = CATEGORIES[self.builder_config.name]
        return {
            "train good": category.train,
            "train defective": 0,
            "test good": category.good,
            "test defective": category.defective,
        }
