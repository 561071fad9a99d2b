"""What reading costs: each case in a process of its own, timed, its memory measured, free to die."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.conftest import ROOT


@dataclass(frozen=True)
class Outcome:
    """What became of the files of one case.

    codes: those of the headers, each once. code: of the volume, "ok" where there is one; "escape NAME" where
    another exception than SeriesError came out; "killed N" where signal N ended the process; "hang" after the limit.
    peak_bytes: the largest resident memory of the process, interpreter and libraries included.
    """

    codes: list[str]
    code: str
    detail: str
    seconds: float
    peak_bytes: int


def measure(cases: dict[str, Sequence[str]], limit_s: float, **limits: int) -> dict[str, Outcome]:
    """Outcomes by name of the case: read_header of every file, then read_volume(files, **limits)."""
    request = json.dumps({"cases": {name: list(files) for name, files in cases.items()}, "limit_s": limit_s} | limits)
    words = [sys.executable, "-m", "tests.measure"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(words, input=request, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    return {name: Outcome(**outcome) for name, outcome in json.loads(ended.stdout).items()}


def outcome_of(files: Sequence[str], limit_s: float, **limits: int) -> Outcome:
    """Fork, read in the child, and tell how that ended. The caller should have imported little else than the reader."""
    receiver, sender = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.close(receiver)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native decoders print
            os.write(sender, json.dumps(_read(files, limits)).encode())
        finally:
            os._exit(0)
    os.close(sender)
    ready, _, _ = select.select([receiver], [], [], limit_s)
    if not ready:
        os.kill(child, signal.SIGKILL)
    told = os.read(receiver, 1 << 20) if ready else b""
    os.close(receiver)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    if told:
        return Outcome(**json.loads(told), seconds=seconds)
    code = f"killed {os.WTERMSIG(status)}" if ready else "hang"
    return Outcome([], code, "", seconds, 0)


def _read(files: Sequence[str], limits: dict[str, int]) -> dict:
    from radnet.shards.dicom import read_header, read_volume
    from radnet.shards.ledger import SeriesError

    codes, detail = [], ""
    try:
        codes = [str(read_header(file).code) for file in files]
        read_volume(files, **limits)
        code = "ok"
    except SeriesError as error:
        code, detail = str(error.code), error.detail
    except BaseException as error:
        code = f"escape {type(error).__name__}"
    return {"codes": sorted(set(codes)), "code": code, "detail": detail, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    with open("/proc/self/status") as file:  # ru_maxrss would be that of the parent where it was larger
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def _main() -> None:
    import radnet.shards.dicom  # noqa: F401  so that no case pays for it

    request = json.load(sys.stdin)
    cases, limit_s = request.pop("cases"), request.pop("limit_s")
    outcomes = {name: asdict(outcome_of(files, limit_s, **request)) for name, files in cases.items()}
    print(json.dumps(outcomes))


if __name__ == "__main__":
    _main()
