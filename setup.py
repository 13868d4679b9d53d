"""What setup.cfg cannot say: packages that lie in three places. Everything else is in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages("src"),
        *find_packages(include=["data_modules", "data_modules.*"]),
        # Not a Python package: the YAML files travel inside `mtdense` in a wheel.
        "mtdense.experiments",
    ],
    package_dir={"mtdense": "src/mtdense", "mtdense.experiments": "experiments", "data_modules": "data_modules"},
)
