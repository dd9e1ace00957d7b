"""Packages and data; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    packages=["crank2_unet", "crank2_unet.training", "crank2_unet.models"],
    # the model is part of the product: models/ at the top level travels inside the package
    package_dir={"crank2_unet.models": "models"},
    package_data={"crank2_unet": ["*.json", "*.j2"], "crank2_unet.models": ["*.json", "*.onnx"]},
)
