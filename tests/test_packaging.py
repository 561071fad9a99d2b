"""What is installed is what is imported: from a wheel, from a checkout, and from a checkout beside another wheel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
MODULES = "radnet.kernels.fused, radnet.shards.ledger, radnet.shards.phantom.plan, radnet.launch.cli, radnet.labels"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel's content, unpacked where an installer would put it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    found = next(folder.glob("radnet-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(found)], check=True)
    return folder / "site"


def _where(cwd: Path, *path: Path) -> str:
    """The file radnet.shards.ledger is imported from, with these folders before everything else."""
    folders = [str(folder) for folder in path]
    code = f"import sys; sys.path[:0] = {folders!r}; import {MODULES}; print(radnet.shards.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_a_wheel_holds_everything(wheel, tmp_path):
    assert _where(tmp_path, wheel) == str(wheel / "radnet" / "shards" / "__init__.py")
    configs, inside = ROOT / "configs", wheel / "radnet" / "configs"
    names = {path.relative_to(configs) for path in configs.rglob("*.yaml")}
    assert {path.relative_to(inside) for path in inside.rglob("*.yaml")} == names
    kernel = wheel / "radnet" / "kernels" / "resample.cu"
    assert kernel.read_text() == (ROOT / "kernels" / "resample.cu").read_text()


def test_a_checkout_wins_over_a_wheel_behind_it(wheel, tmp_path):
    assert _where(tmp_path, ROOT, wheel) == str(ROOT / "shards" / "__init__.py")
