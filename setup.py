"""Packages, data and the import hook; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

# Python executes this line at every start (in virtual environments twice); see crank2_unet/hook.py.  It
# must never stop an interpreter, and says one line if it fails.
HOOK = "crank2_unet_hook.pth"
TRY = """try:
 from crank2_unet.hook import start
 start()
except Exception as error:
 told, sys.crank2_unet_told = hasattr(sys, 'crank2_unet_told'), True
 told or sys.stderr.write('crank2-unet: the import hook did not start: %r\\n' % error)"""
LINE = f"import sys; exec({TRY!r})\n"


class BuildWithHook(build_py):
    """Puts the .pth file beside the packages, so that it is installed and removed with them."""

    def run(self):
        super().run()
        if not self.editable_mode:
            Path(self.build_lib, HOOK).write_text(LINE)


class EditableWithHook(editable_wheel):
    """The same for ``pip install -e``, whose wheel is made from nothing but links."""

    def _select_strategy(self, *arguments):
        return _WithHook(super()._select_strategy(*arguments))


class _WithHook:
    def __init__(self, strategy):
        self._strategy = strategy

    def __call__(self, wheel, files, mapping):
        self._strategy(wheel, files, mapping)
        wheel.writestr(HOOK, LINE)

    def __enter__(self):
        self._strategy.__enter__()
        return self

    def __exit__(self, *error):
        return self._strategy.__exit__(*error)


setup(
    cmdclass={"build_py": BuildWithHook, "editable_wheel": EditableWithHook},
    packages=[*find_packages(include=["crank2_unet", "crank2_unet.*"]), "crank2_unet.models"],
    # the model is part of the product: models/ at the top level travels inside the package
    package_dir={"crank2_unet.models": "models"},
    package_data={"crank2_unet.models": ["*.json", "*.onnx"],
                  "crank2_unet.report": ["*.j2", "*.css", "*.js"],
                  "crank2_unet.training.evaluation": ["*.j2"],
                  "crank2_unet.modification": ["*.json"], "crank2_unet.solvent": ["*.json"],
                  "crank2_unet.ccp4i2": ["*.def.xml", "*.medline.txt", "*.svg"]},
)
