"""Programs that are killed at a chosen moment: a sitecustomize for the driver and every process it starts.

RADNET_TEST_KILL holds {"point": …, "victim": …, "mark": file}. The first process to reach the point makes the mark and
kills: itself ("self"), the driver, or "all": the driver and everything that lives below it.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.conftest import ROOT

# What is about to happen when the point is reached: function, and how its arguments look.
POINTS = {
    "before the plan": ("os.replace", "plan.parquet"),
    "before run.json": ("os.replace", "run.json"),
    "before temp": ("tempfile.mkstemp", ".tar-"),
    "mid-tar": ("tarfile.TarInfo.tobuf", ""),
    "before rename": ("os.replace", ".tar"),
    "between tar and idx": ("os.replace", ".idx"),
    "between tar and sidecar": ("os.replace", "-000000.json"),
    "before the tables": ("os.replace", "labels.parquet"),
    "before the ledger": ("os.replace", "ledger.parquet"),
    "before index.json": ("os.replace", "index.json"),
}

_SITE = """
import json, os, signal, tarfile, tempfile

os.environ.setdefault("RADNET_TEST_DRIVER", str(os.getpid()))
wanted = json.loads(os.environ.get("RADNET_TEST_KILL", "{}"))


def kill():
    try:
        os.close(os.open(wanted["mark"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    driver = int(os.environ["RADNET_TEST_DRIVER"])
    if wanted["victim"] == "self":
        os.kill(os.getpid(), signal.SIGKILL)
    victims = [driver]
    if wanted["victim"] == "all":
        import psutil
        victims += [one.pid for one in psutil.Process(driver).children(recursive=True) if one.pid != os.getpid()]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if wanted["victim"] == "all":
        os.kill(os.getpid(), signal.SIGKILL)


def watch(owner, name, ending, nth):
    real, calls = getattr(owner, name), []

    def watched(*arguments, **named):
        if any(ending in str(one) for one in (*arguments, *named.values())):
            calls.append(0)
            if len(calls) == nth:
                kill()
        return real(*arguments, **named)

    setattr(owner, name, watched)


if wanted:
    function, ending = wanted["point"]
    owner, name = {"os.replace": (os, "replace"), "tempfile.mkstemp": (tempfile, "mkstemp")}.get(
        function, (tarfile.TarInfo, "tobuf")
    )
    watch(owner, name, ending, 3 if function.startswith("tarfile") else 1)
"""


def command(*words: str) -> list[str]:
    """`radnet shard` in the checkout under test."""
    return [sys.executable, str(ROOT / "launch" / "shard.py"), *words]


def environment(folder: Path, point: str = "", victim: str = "", mark: str = "killed") -> dict[str, str]:
    """The environment of a driver that is killed at a point, or ("") of one that is not."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(textwrap.dedent(_SITE))
    wanted = {"point": POINTS[point], "victim": victim, "mark": str(folder / mark)} if point else {}
    paths = os.pathsep.join([str(site), str(ROOT)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PYTHONPATH": paths, "RADNET_TEST_KILL": json.dumps(wanted)}


def run(words: list[str], environment: dict[str, str], limit_s: float = 180.0) -> subprocess.CompletedProcess:
    """Run to the end, and leave nothing of it behind: what outlives a killed driver holds the pipes open."""
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=limit_s)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return subprocess.CompletedProcess(words, process.returncode, out, err)
