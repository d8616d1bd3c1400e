"""What pyproject.toml cannot say: configs/ of the checkout is vqad.configs when installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["vqad*"]), "vqad.configs"],
    package_dir={"vqad.configs": "configs"},
)
