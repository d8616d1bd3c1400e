"""TFDS builders of public data sets; `tfds.builder` finds them once this is imported (slow)."""

from vqad.data.builders.data_sets import KolektorSdd, MagneticTile, MvtecAd, NaturalImages, Visa
from vqad.data.builders.ksdd2 import Ksdd2
from vqad.data.builders.prepare import BUILDERS, prepare

__all__ = ["BUILDERS", "prepare"]
__all__ += ["KolektorSdd", "Ksdd2", "MagneticTile", "MvtecAd", "NaturalImages", "Visa"]
