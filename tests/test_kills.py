"""Kills, full disks and refused folders in the middle of a real `radnet shard`: run again, the set is as if nothing
had happened, to the byte."""

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from radnet.launch import verify
from radnet.shards.phantom import write_archive
from tests import kills

PATIENTS = 3


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """An archive in folder/in, and a configuration that makes several shards of it."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "in", folder / "truth", num_patients=PATIENTS, seed=1, write_masks=False)
    values = {
        "sources": [{"path": str(folder / "in"), "collection": "phantom", "licence": "CC0"}],
        "shard_bytes": 2_000_000,
        "privacy": {"key": "public"},
        "num_workers": 2,
    }
    (folder / "shard.yaml").write_text(json.dumps(values))
    return folder


def contents(out: Path) -> dict[str, bytes]:
    """Name → bytes of all that is public; what is left of a dead process counts too."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(archive) -> dict[str, bytes]:
    words = kills.command(str(archive / "shard.yaml"), f"out={archive / 'undisturbed'}")
    result = kills.run(words, kills.environment(archive))
    assert result.returncode == 8, result.stderr  # the phantom has damaged series
    assert verify.main([str(archive / "undisturbed")]) == 0
    return contents(archive / "undisturbed")


CASES = [
    *((point, "self") for point in ("before temp", "mid-tar", "before rename", "between tar and sidecar")),
    *((point, "driver") for point in kills.POINTS),
    *((point, "all") for point in ("mid-tar", "before rename", "between tar and sidecar", "before index.json")),
]
QUICK = {("mid-tar", "self")}


@pytest.mark.parametrize(
    "point, victim", [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_a_set_whose_maker_was_killed_is_finished_to_the_byte(archive, undisturbed, tmp_path, point, victim):
    out = tmp_path / "out"
    words = kills.command(str(archive / "shard.yaml"), f"out={out}")
    result = kills.run(words, kills.environment(tmp_path, point, victim))
    assert (tmp_path / "killed").exists(), result.stderr
    if victim != "self":
        assert result.returncode == -9 and not (out / "index.json").exists()
        result = kills.run(words, kills.environment(tmp_path))
    assert result.returncode == 8, result.stderr
    assert contents(out) == undisturbed


@pytest.mark.slow
def test_fifty_kills_at_random_change_no_byte(archive, undisturbed, tmp_path):
    rng, left, number = random.Random(1), 50, 0
    environment = kills.environment(tmp_path)
    while left:
        number += 1
        out = tmp_path / f"out{number}"
        words = kills.command(str(archive / "shard.yaml"), f"out={out}")
        while left:
            process = subprocess.Popen(
                words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            if _is_done_within(process, rng.uniform(0.5, 12.0)):
                break
            left -= 1
            _kill(process, rng.choice(["driver", "worker", "all"]), rng)
        assert kills.run(words, environment).returncode == 8
        assert contents(out) == undisturbed, f"set {number}, {50 - left} kills"
        shutil.rmtree(out)


def _is_done_within(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen, victim: str, rng: random.Random) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in children if "ray::" in " ".join(_words(one))]
    victims = {"driver": [psutil.Process(process.pid)], "worker": workers and [rng.choice(workers)]}
    for one in victims.get(victim) or [psutil.Process(process.pid), *children]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    if victim == "worker" and workers:
        time.sleep(1.0)  # the driver tries again; then it goes the way of the others
    for one in [*children, process]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a small disk needs root and mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def _one_line(result: subprocess.CompletedProcess) -> str:
    """The message of a program that refused: its only line on stderr that is no progress."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("radnet:")]
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    return lines[0]


def test_a_full_disk_is_said_and_tears_nothing(archive, undisturbed, small_disk, tmp_path):
    words = kills.command(str(archive / "shard.yaml"), f"out={small_disk / 'out'}")
    assert "No space left on device; mend that and run again" in _one_line(
        kills.run(words, kills.environment(tmp_path))
    )
    left = contents(small_disk / "out")
    assert "index.json" not in left
    assert all(left[name] == undisturbed[name] for name in left if not name.startswith(".tmp-"))
    _remount(small_disk, "size=64m")
    assert kills.run(words, kills.environment(tmp_path)).returncode == 8
    assert contents(small_disk / "out") == undisturbed


def test_an_output_that_may_not_be_written_to(archive, small_disk, tmp_path):
    _remount(small_disk, "ro")
    words = kills.command(str(archive / "shard.yaml"), f"out={small_disk / 'out'}")
    assert "Read-only file system" in _one_line(kills.run(words, kills.environment(tmp_path)))


def test_files_and_folders_without_permission(archive, tmp_path):
    setpriv = shutil.which("setpriv")
    without = [setpriv or "", "--bounding-set=-dac_override,-dac_read_search"]
    if not setpriv or subprocess.run([*without, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and setpriv, for root may read everything")
    shutil.copytree(archive / "in", tmp_path / "in")
    config = json.loads((archive / "shard.yaml").read_text())
    config["sources"][0]["path"] = str(tmp_path / "in")
    (tmp_path / "shard.yaml").write_text(json.dumps(config))
    forbidden = next(path for path in sorted((tmp_path / "in").rglob("*")) if path.is_file())
    forbidden.chmod(0)
    words = [*without, *kills.command(str(tmp_path / "shard.yaml"), f"out={tmp_path / 'out'}")]
    result = kills.run(words, kills.environment(tmp_path))
    assert result.returncode == 8 and "unreadable" in result.stderr, result.stderr
    (tmp_path / "closed").mkdir(mode=0o555)
    closed = [*words[:-1], f"out={tmp_path / 'closed' / 'out'}"]
    assert "Permission denied" in _one_line(kills.run(closed, kills.environment(tmp_path)))


def test_a_wrong_privacy_key_is_refused(archive, undisturbed, tmp_path):
    out = archive / "undisturbed"
    words = kills.command(str(archive / "shard.yaml"), f"out={out}", f"privacy.key={tmp_path / 'key'}")
    assert "privacy.key is another key; change it back" in _one_line(kills.run(words, kills.environment(tmp_path)))
    assert contents(out) == undisturbed
    assert os.stat(tmp_path / "key").st_mode & 0o777 == 0o600
