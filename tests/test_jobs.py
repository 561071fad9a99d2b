"""`ray job submit` on a real head: the same bytes as at home, the submitted code, tokens, failures, stops."""

import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.clusters import bare_checkout, cluster, contents, own_environment, toy_config

MARK = "0.1.0+submitted"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A bare copy of the checkout that says so in every sample it writes."""
    folder = bare_checkout(tmp_path_factory.mktemp("checkout"))
    package = folder / "radnet" / "__init__.py"
    package.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{MARK}"', package.read_text()))
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head whose environment holds an older radnet, in front of what is installed."""
    older = tmp_path_factory.mktemp("older")
    (older / "radnet").mkdir()
    (older / "radnet" / "__init__.py").write_text("raise ImportError('this is the older radnet')\n")
    with cluster(num_cpus=2, PYTHONPATH=str(older)) as found:
        yield found


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return toy_config(tmp_path_factory.mktemp("toy"), num_patients=1)


def _at_home(checkout: Path, config: Path, out: Path) -> dict[str, bytes]:
    """What the checkout builds on this machine without a cluster."""
    command = [sys.executable, str(checkout / "launch" / "shard.py"), str(config), f"out={out}", "num_workers=1"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout), "HOME": str(out.parent)}
    # Ray's workers look for modules where the driver was started, before all else.
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, timeout=300)
    return contents(out)


def test_the_job_server_turns_strangers_away(head):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{head.dashboard}/api/jobs/", timeout=10)


def test_a_submitted_job_builds_the_same_bytes_with_the_submitted_code(head, checkout, config, tmp_path):
    result = head.submit(checkout, str(config), f"out={tmp_path / 'there'}")
    assert result.returncode == 0 and "succeeded" in result.stdout, result.stdout + result.stderr
    assert contents(tmp_path / "there") == _at_home(checkout, config, tmp_path / "here")
    tars = list((tmp_path / "there").glob("*.tar"))
    assert len(tars) > 1 and all(MARK.encode() in tar.read_bytes() for tar in tars)


@pytest.mark.slow
def test_a_job_that_fails_says_why_in_its_last_line(head, checkout, config, tmp_path):
    result = head.submit(checkout, str(config), f"out={tmp_path / 'out'}", "codecs=npy")
    assert result.returncode == 1 and "exit code 2" in result.stdout
    job = _job(result)
    status = head.ray("job", "status", "--address", head.dashboard, job).stdout
    log = head.ray("job", "logs", "--address", head.dashboard, job).stdout
    assert "failed" in status
    assert log.strip().splitlines()[-1] == "radnet: the command line: unknown key 'codecs'; did you mean 'codec'?"


@pytest.mark.slow
def test_a_stopped_job_goes_on_where_it_was(head, checkout, tmp_path):
    config = toy_config(tmp_path, num_patients=12)
    out, words = tmp_path / "there", (str(config), f"out={tmp_path / 'there'}")
    job = _job(head.submit(checkout, *words, "num_workers=1", options=("--no-wait",)))
    deadline = time.monotonic() + 60
    while not list(out.glob("*-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert head.ray("job", "stop", "--address", head.dashboard, job).returncode == 0
    built = {path.name: path.stat().st_mtime_ns for path in out.glob("*-*.json")}
    assert built and not (out / "index.json").exists()
    result = head.submit(checkout, *words)
    # One series is damaged: finished, with exit code 8, which Ray calls failed.
    assert "exit code 8" in result.stdout and "shards are there already" in result.stdout, result.stdout
    assert {name: (out / name).stat().st_mtime_ns for name in built} == built
    resumed = contents(out)
    shutil.rmtree(out)
    assert "exit code 8" in head.submit(checkout, *words).stdout
    assert contents(out) == resumed


@pytest.mark.slow
def test_a_runtime_environment_installs_the_submitted_folder(checkout, config, tmp_path):
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    with cluster(1, own_environment(tmp_path / "environment"), **offline) as found:
        options = ("--runtime-env", str(checkout / "configs" / "ray" / "runtime_env.yaml"))
        result = found.submit(checkout, str(config), f"out={tmp_path / 'out'}", options=options)
        assert result.returncode == 0, result.stdout + result.stderr
        (made,) = found.folder.glob("h/session_2*/runtime_resources/pip/*/virtualenv")
        assert list(made.glob("lib/python3*/site-packages/radnet/shards/ledger.py"))
        tars = list((tmp_path / "out").glob("*.tar"))
        assert tars and all(MARK.encode() in tar.read_bytes() for tar in tars)


def _job(result: subprocess.CompletedProcess) -> str:
    return re.search(r"raysubmit_\w+", result.stdout)[0]
