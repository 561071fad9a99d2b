"""Shared fixtures: the real DICOM folder, if there is one, and an S3 API."""

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


@pytest.fixture
def s3(monkeypatch):
    """An S3 without buckets (a `tests.s3.S3`), for this process and those it starts during the test."""
    from tests.s3 import serving  # a second that tests of other things need not pay

    with serving(monkeypatch) as store:
        yield store
