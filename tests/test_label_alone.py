"""radnet label needs the core and the shard extra: what trains, draws or tests is not there."""

import os
import subprocess
import sys

from radnet.launch.label import __doc__ as HELP
from tests.audits import read_csv, write_small_archive
from tests.conftest import ROOT

ABSENT = """
matplotlib deepspeed nvidia wandb tqdm cupy monai sklearn SimpleITK scipy PIL pandas pytest hypothesis
""".split()
BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_no_training_extra_is_needed_and_no_network(tmp_path):
    """In the program and in its workers: both read sitecustomize when they start."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "http_proxy": "http://127.0.0.1:9"}
    check = subprocess.run(
        [sys.executable, "-c", "import matplotlib"], env=environment, capture_output=True, check=False
    )
    assert b"ModuleNotFoundError" in check.stderr
    write_small_archive(tmp_path / "in")
    command = [sys.executable, str(ROOT / "launch" / "label.py"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [*command, "--key", "public"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert sum(row["status"] == "ok" for row in read_csv(tmp_path / "out")) == 5
    assert (tmp_path / "out" / "index.html").read_text().count("<img") == 15


def test_help_explains_every_column():
    from radnet.shards.audit_table import COLUMNS

    for column in COLUMNS:
        name = column.replace("_confidence", "").replace("_evidence", "")
        assert name in HELP or name == "rules_version", column
    assert "none where it is known" in HELP and "overrides" in HELP
