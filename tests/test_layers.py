"""Imports run one way: a module imports only from layers below its own."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "crank2_unet"
LAYERS = [
    {"errors"},
    {"phases", "reflections", "scatterer"},
    {"data", "grids", "shells", "sad_settings"},
    {"intensities", "histograms", "masks", "matthews", "windows", "friedel", "substructure"},
    {"mtz", "features", "solvent", "sad_model", "weighting", "output"},
    {"quality"},
    {"network", "sad", "modification"},
    {"segmentation", "simulation"},
    {"pipeline"},
    {"domain", "figures"},
    {"report", "check"},
    {"result"},
    {"jobs"},
    {"hand"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {"tensorflow", "keras", "dask", "onnx", "onnxruntime"}


def imports(path: Path):
    """(own module or package name, is relative) of every import, at any depth of the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level and not node.module:
                yield from ((alias.name, True) for alias in node.names)
            else:
                yield node.module.split(".")[0], bool(node.level)
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], False) for alias in node.names)


def test_every_module_has_a_layer():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(LEVEL) | {"__init__"}


def test_imports_run_downwards():
    for path in PACKAGE.glob("*.py"):
        for name, relative in imports(path):
            if relative and name in LEVEL:
                assert LEVEL[name] < LEVEL[path.stem], f"{path.stem} imports {name}"


def test_only_the_command_line_knows_training_and_only_training_knows_its_libraries():
    for path in PACKAGE.glob("*.py"):
        names = set(imports(path))
        assert ("training", True) not in names or path.stem == "cli"
        used = {name for name, relative in names if not relative} & HEAVY
        assert used <= {"onnxruntime"} and (not used or path.stem in ("network", "check"))
