"""Run programs one after another, each in a process of its own, and measure their time and memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from radnet.errors import OK

SAMPLE_S = 0.5
GRACE_S = 20


@dataclass(frozen=True)
class Station:
    """One program of the line. accepted: exit codes that let the line go on."""

    name: str
    command: Sequence[str]
    accepted: Sequence[int] = (OK,)


@dataclass(frozen=True)
class Measured:
    """What a station took: wall-clock seconds, the largest memory of its processes together in MB, its exit code."""

    name: str
    seconds: float
    peak_mb: float
    code: int


def run_station(station: Station, log: Path) -> Measured:
    """Run a station with its output in a log file; never raises for a non-zero exit."""
    begun = time.monotonic()
    with log.open("w") as stream:
        # A session of its own, so that an interrupt reaches the launcher's children through us and no other way.
        process = subprocess.Popen(
            station.command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        peak = _Peak(process.pid)
        peak.start()
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
        finally:
            peak.stop()
    return Measured(station.name, time.monotonic() - begun, peak.bytes / 1e6, code)


def _end(process: subprocess.Popen) -> None:
    """Ask the whole session to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


class _Peak(threading.Thread):
    """The largest proportional memory (PSS: shared pages are counted once) of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._root, self._ended = psutil.Process(pid), threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.bytes = max(self.bytes, self._now())

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self.join()

    def _now(self) -> int:
        total = 0
        try:
            members = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        for member in members:
            try:
                total += member.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended between listing and reading
        return total


def last_lines(log: Path, count: int = 5) -> str:
    """The last lines of a log, indented, for a terminal."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join("    " + line for line in lines[-count:])


def script(name: str) -> list[str]:
    """The command that runs launch/NAME.py with this Python."""
    return [sys.executable, str(Path(__file__).resolve().parent / f"{name}.py")]
