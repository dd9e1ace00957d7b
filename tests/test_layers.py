"""Imports run one way: a module imports only from layers below its own."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "crank2_unet"
LAYERS = [
    {"errors", "hook", "mask_client"},
    {"phases", "reflections", "scatterer", "parrot_options"},
    {"data", "grids", "shells", "sad_settings"},
    {"intensities", "histograms", "masks", "matthews", "windows", "friedel", "substructure"},
    {"mtz", "features", "solvent", "sad_model", "weighting", "output", "sharpening", "ncs", "parrot"},
    {"quality"},
    {"network", "sad", "modification", "ncs_search"},
    {"segmentation", "simulation"},
    {"pipeline", "parrot_log"},
    {"engines", "mask_server", "parrot_runs"},
    {"parrot_engine"},
    {"domain", "figures"},
    {"report", "check"},
    {"result"},
    {"jobs", "parrot_job"},
    {"hand"},
    {"cli"},
    {"__main__", "unet_parrot"},
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


def test_the_part_for_crank2_stands_on_the_pipeline_and_only_commands_know_it():
    for path in (PACKAGE / "crank2").glob("*.py"):
        ours = {name for name, relative in imports(path) if relative} & set(LEVEL)
        assert all(LEVEL[name] <= LEVEL["check"] for name in ours), path
    for path in PACKAGE.glob("*.py"):
        assert ("crank2", True) not in set(imports(path)) or path.stem == "cli"


def test_the_import_hook_loads_nothing_but_sys():
    """It is executed at every start of Python."""
    top = ast.parse((PACKAGE / "hook.py").read_text()).body
    loaded = [ast.unparse(node) for node in top if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert loaded == ["import sys"]
    assert not any(True for _ in imports(PACKAGE / "__init__.py"))


def test_ccp4i2_is_met_through_the_hook_only():
    """Its tasks derive from classes that exist in its own Python only."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "ccp4i2":
            assert not {name for name, _ in imports(path)} & {"ccp4i2", "core", "qtgui"}, path
