"""Shared fixtures: the real DICOM folder, if there is one."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real DICOM with a hand-checked truth table; the test is skipped where it is absent."""
    folder = Path(os.environ.get("RADNET_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not (folder / "truth.csv").is_file():
        pytest.skip(f"no real DICOM: RADNET_TEST_DATA or {folder} has no truth.csv")
    return folder
