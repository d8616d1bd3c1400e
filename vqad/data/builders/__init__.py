"""TFDS builders of public data sets; `tfds.builder` finds them once this is imported (slow)."""

from vqad.data.builders.base import FilesBuilder
from vqad.data.builders.kolektor_sdd import KolektorSdd
from vqad.data.builders.ksdd2 import Ksdd2
from vqad.data.builders.magnetic_tile import MagneticTile
from vqad.data.builders.mvtec_ad import MvtecAd
from vqad.data.builders.natural_images import NaturalImages
from vqad.data.builders.prepare import BUILDERS, builder_class, prepare
from vqad.data.builders.visa import Visa

__all__ = [
    "BUILDERS",
    "FilesBuilder",
    "KolektorSdd",
    "Ksdd2",
    "MagneticTile",
    "MvtecAd",
    "NaturalImages",
    "Visa",
    "builder_class",
    "prepare",
]
