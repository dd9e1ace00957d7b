"""What the contract of import-linter in pyproject.toml, which says who may import whom, cannot say."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "crank2_unet"
# library -> the places that may know it
HEAVY = {"tensorflow": ["training"], "keras": ["training"], "dask": ["training"], "onnx": ["training"],
         "onnxruntime": ["network/runtimes.py", "training"], "openvino": ["network/runtimes.py"],
         "ccp4i2": ["ccp4i2"], "core": ["ccp4i2"], "qtgui": ["ccp4i2"]}


def imports(path: Path):
    """Top-level name of each absolute import of other packages, at any depth of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


def test_heavy_libraries_stay_where_they_are_needed():
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        for name in set(imports(path)) & set(HEAVY):
            assert any(place.startswith(allowed) for allowed in HEAVY[name]), f"{place} imports {name}"


def test_the_import_hook_loads_nothing_but_sys():
    """It is executed at every start of Python."""
    for name, allowed in (("hook.py", ["import sys"]), ("__init__.py", [])):
        top = ast.parse((PACKAGE / name).read_text()).body
        loaded = [ast.unparse(n) for n in top if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert loaded == allowed, name


def test_the_mask_client_stands_alone():
    """Parrot starts it in every cycle, without site-packages."""
    tree = ast.parse((PACKAGE / "parrot" / "mask_client.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert set(imports(PACKAGE / "parrot" / "mask_client.py")) <= {"__future__", "os", "socket", "sys"}
