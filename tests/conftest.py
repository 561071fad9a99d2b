"""Shared fixtures: the real DICOM, if there is some, and its headers; a Ray; an S3 API; an archive and its audit."""

import os
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def real_records(real_data) -> list:
    """The record of every file of the real DICOM; not to be changed."""
    from radnet.shards.dicom import read_header
    from radnet.shards.inventory import list_files

    return [read_header(path) for path in list_files(str(real_data))]


@pytest.fixture(scope="module")
def ray_session() -> Iterator[int]:
    """A Ray that outlives the single test; yields the number of its workers."""
    from radnet.shards import actors

    with actors.session(2, "") as num_workers:
        yield num_workers


@pytest.fixture(scope="module")
def small_archive(tmp_path_factory) -> Path:
    """See `audits.write_small_archive`."""
    from tests.audits import write_small_archive

    return write_small_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def small_audit(ray_session, small_archive, tmp_path_factory) -> Path:
    """An audit of the small archive that keeps its names."""
    from tests.audits import audit

    out = tmp_path_factory.mktemp("audit") / "out"
    assert audit(small_archive, out, "--keep-uids") == 0
    return out


@pytest.fixture(scope="session")
def phantom_sets(tmp_path_factory) -> dict[str, Path]:
    """One archive as three sets: with the owner's inventory, with free text in the tars, with neither; not to be
    changed."""
    from tests.sets import KINDS, phantom_rows, write_phantom_set

    folder = tmp_path_factory.mktemp("sets")
    rows = phantom_rows(folder)
    return {
        kind: write_phantom_set(
            folder / kind, rows, keep_free_text=kind == "free text", keep_inventory=kind == "inventory"
        )
        for kind in KINDS
    }


@pytest.fixture(scope="session")
def phantom_plans() -> list:
    """The series of 60 phantom patients, planned only."""
    from radnet.shards.phantom import plan_archive

    return plan_archive(60, 0)


@pytest.fixture(scope="session")
def phantom_volumes() -> list:
    """2,000 volumes of the phantom, planned only."""
    from radnet.shards.ledger import Code
    from radnet.shards.phantom import plan_archive

    return [plan for plan in plan_archive(730, 11) if plan.code is Code.OK][:2000]


_status: list[int] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep what the run came to for `pytest_unconfigure`."""
    _status.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without unloading: DALI, Ray, torch and a dozen decoders in one process, which only tests have, may end a
    finished run with a segmentation fault when the interpreter takes them down. Programs are tested in processes of
    their own, whose exit codes are checked."""
    if _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[-1])
