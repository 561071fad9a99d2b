"""The S3 of the tests is one: what s3fs writes through its faults it reads back, from this process and from others."""

import subprocess
import sys
import time
from collections.abc import Callable

import fsspec
import pytest

from tests.conftest import ROOT
from tests.s3 import Faults

OBJECTS = {f"{number:02}.bin": bytes([number]) * (1000 * number + 1) for number in range(50)}


def _round_trip(root: str, objects: dict[str, bytes]) -> dict[str, bytes]:
    """Every object written and read once, as fsspec does it by default."""
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe({f"{root}/{name}": content for name, content in objects.items()})
    found = filesystem.cat([f"{root}/{name}" for name in objects])
    return {url.rsplit("/", 1)[1]: content for url, content in found.items()}


@pytest.mark.parametrize("kind, num", [("500", 50), ("503", 20), ("reset", 50), ("cut", 50)])
def test_every_third_request_fails_and_no_byte_is_lost(s3, kind, num):
    root = s3.bucket("bucket")
    objects = dict(list(OBJECTS.items())[:num])
    s3.faults = Faults(every=3, kind=kind)
    assert _round_trip(root, objects) == objects
    assert s3.requests["PUT"] > num and s3.requests["GET"] >= num
    assert s3.failed.keys() == {kind} and s3.failed[kind] >= num


def test_files_survive_connections_cut_in_the_middle(s3, tmp_path):
    root = s3.bucket("bucket")
    content = bytes(range(256)) * 4096
    (tmp_path / "here").write_bytes(content)
    s3.faults = Faults(every=3, kind="cut")
    filesystem = fsspec.filesystem("s3")
    for number in range(5):
        filesystem.put_file(str(tmp_path / "here"), f"{root}/{number}")
        filesystem.get_file(f"{root}/{number}", str(tmp_path / "there"))
        assert (tmp_path / "there").read_bytes() == content
    assert s3.failed["cut"] >= 3


def _timed(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def test_slow_answers_and_slow_bodies_are_slow_and_whole(s3):
    url = s3.bucket("bucket") + "/object"
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe_file(url, b"x" * 1000)
    s3.faults = Faults(delay_s=0.3)
    assert _timed(lambda: filesystem.cat_file(url)) >= 0.3
    s3.faults = Faults(drip_bytes=100, drip_s=0.05)
    assert _timed(lambda: filesystem.cat_file(url)) >= 0.45
    assert filesystem.cat_file(url) == b"x" * 1000


def test_faults_can_be_kept_to_some_methods_and_switched_off(s3, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # s3fs repeats requests all the same
    url = s3.bucket("bucket") + "/object"
    filesystem = fsspec.filesystem("s3")
    s3.faults = Faults(every=1, kind="reset", methods=("GET",))
    filesystem.pipe_file(url, b"content")
    with pytest.raises(Exception, match="(?i)connect"):
        filesystem.cat_file(url)
    s3.faults = Faults()
    assert filesystem.cat_file(url) == b"content"
    assert s3.failed.keys() == {"reset"} and s3.requests["PUT"] == 2


def test_another_process_finds_it_through_its_environment(s3):
    root = s3.bucket("bucket")
    code = f"import fsspec; fsspec.filesystem('s3').pipe_file('{root}/there', b'from elsewhere')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert fsspec.filesystem("s3").cat_file(s3.url("bucket", "there")) == b"from elsewhere"
