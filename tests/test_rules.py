"""Rules of the house that a script can check: who imports whom, who may open which door, how long things grow."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LAYERS = ("kernels", "radnet", "shards", "launch")  # each may import what stands left of it
DOORS = {
    "ray": {"shards/actors.py", "shards/cluster.py", "shards/hands.py"},
    "nvidia": {"radnet/loader.py", "launch/bench/kernels.py"},
    "deepspeed": {"radnet/engine.py"},
    "wandb": {"radnet/tracking.py"},
    "pydicom": {
        "shards/dicom.py",
        "shards/pixels.py",
        "shards/phantom/archive.py",
        "launch/bench/dicom.py",
        "launch/bench/ct.py",
        "launch/bench/driver.py",
    },
    "nibabel": {"shards/nifti.py", "shards/phantom/archive.py"},
    "webdataset": set(),
    "cupy": {"kernels/fused.py"},
}
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in SOURCES]


def _layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "radnet"


def _imports(tree: ast.AST):
    """(module, whether it is imported when the file is)."""
    top = {id(node) for node in ast.iter_child_nodes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "radnet":
                yield from ((f"radnet.{alias.name}", id(node) in top) for alias in node.names)
            yield node.module, id(node) in top


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_import_law_and_doors(path):
    name = str(path.relative_to(ROOT))
    allowed = LAYERS[: LAYERS.index(name.split("/")[0]) + 1]
    for module, _ in _imports(ast.parse(path.read_text())):
        if module.split(".")[0] == "radnet":
            assert _layer(module) in allowed, f"{name} imports {module}"
        door = DOORS.get(module.split(".")[0])
        assert door is None or name in door, f"{name} imports {module}; its door is {door}"
        assert module not in ("radnet.setup", "radnet.radnet"), name


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"
    for node in _public(tree):
        assert ast.get_docstring(node) or node.end_lineno - node.lineno <= 8, f"{path}:{node.lineno} {node.name}"


def _public(scope: ast.Module | ast.ClassDef):
    """Functions and classes of a module that others may use, and their public methods."""
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def test_cuda_is_named_only_behind_the_seam():
    seam = {"radnet/engine.py", "radnet/loader.py", "radnet/config.py"}
    for path, name in zip(SOURCES, IDS, strict=True):
        if name.split("/")[0] in ("radnet", "shards") and name not in seam:
            assert "cuda" not in path.read_text(), name


def test_import_radnet_is_cheap_and_needs_the_core_alone():
    """`import radnet` and loading exported weights reach for nothing outside torch, numpy and safetensors."""
    code = (
        "import sys, time, torch; t = time.time(); import radnet, radnet.export; took = time.time() - t;"
        "heavy = {'ray', 'nvidia', 'deepspeed', 'wandb', 'pydicom', 'omegaconf', 'pyarrow', 'fsspec', 'yaml'};"
        "print(took, *sorted(heavy & set(sys.modules)))"
    )
    took, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy == [] and float(took) < 0.3


def test_setup_does_nothing_when_imported():
    subprocess.run([sys.executable, "-c", "import setup"], cwd=ROOT, check=True, capture_output=True)


def test_no_ignore_rule_matches_code():
    code = [name for name in IDS if not name.endswith("__pycache__")]
    ignored = subprocess.run(["git", "check-ignore", *code], cwd=ROOT, capture_output=True, text=True).stdout
    assert ignored == ""
