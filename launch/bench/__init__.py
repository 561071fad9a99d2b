"""One harness for all comparisons: `radnet bench NAME` runs NAME.measure and writes its records.

A file of this folder is a comparison: `measure(repeats) -> list[Record]`, one entry in BENCHES. Where it also has
`picture(records, path)`, a PNG is drawn beside the records.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radnet.errors import OK, UsageError

BENCHES = {
    "dicom": "headers and volumes a second, beside pydicom, dcm2niix and SimpleITK",
    "labels": "labels of 10,000 phantom headers against exact truth, real MR series beside dcm-classifier",
    "loader": "volumes a second from a shard set beside MONAI and TorchIO, where the time goes, the stall of a step",
    "shard": "a folder to a finished shard beside dcm2niix, two actors, the cost of the driver",
    "kernels": "a volume onto the network's grid beside DALI, MONAI, SimpleITK and others; GPU bandwidth beside a copy",
    "line": "time and peak memory of each station of `radnet demo`",
}
PACKAGES = (
    *("radnet", "torch", "numpy", "ray", "deepspeed", "nvidia-dali-cuda130", "pydicom", "imagecodecs", "monai"),
    *("dcm-classifier", "itk", "onnxruntime", "dcm2niix", "simpleitk", "torchio", "scipy", "cupy-cuda13x"),
)


@dataclass(frozen=True)
class Record:
    """One measured number beside its rival's, if it has one, and its target.

    value, rival_value: medians over the repeats, in `unit`. spread: (max - min) / median of our repeats, None for one
    repeat. ratio: value / rival_value. target: None where it cannot be judged here; met: None then too.
    """

    metric: str
    value: float
    unit: str
    spread: float | None
    rival: str | None
    rival_value: float | None
    ratio: float | None
    target: str | None
    met: bool | None


def record(
    metric: str,
    values: Sequence[float],
    unit: str,
    *,
    rival: str | None = None,
    rival_values: Sequence[float] = (),
    target: str | None = None,
    met: Callable[[float, float | None], bool] | None = None,
) -> Record:
    """A record of repeated measurements; met(value, ratio) judges the target."""
    value = statistics.median(values)
    rival_value = statistics.median(rival_values) if rival_values else None
    ratio = value / rival_value if rival_value else None
    spread = (max(values) - min(values)) / value if len(values) > 1 and value else None
    judged = met(value, ratio) if met else None
    return Record(metric, value, unit, spread, rival, rival_value, ratio, target if met else None, judged)


def machine() -> dict[str, Any]:
    """Kind of processor, cores this process may use, memory, GPU if torch sees one."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(
        (int(line.split()[1]) // 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), None
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "gpu": gpu,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def versions() -> dict[str, str]:
    """Installed versions of what is measured."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(argv: list[str]) -> int:
    """Measure, print, write; 0 whether targets are met or not."""
    listed = "\n".join(f"  {name:<8} {text}" for name, text in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="radnet bench",
        description="Measure radnet beside its rivals, in turn, in one run.",
        epilog=f"names:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="one of the names below")
    parser.add_argument("--out", metavar="FILE.json", help="write the records here")
    parser.add_argument("--repeats", type=int, default=1, help="measurements after the warm-up (default 1)")
    arguments = parser.parse_args(argv)
    if arguments.name not in BENCHES:
        raise UsageError(f"bench {arguments.name!r} is unknown; expected one of {', '.join(BENCHES)}")
    if arguments.repeats < 1:
        raise UsageError(f"--repeats is {arguments.repeats}, expected 1 or more")
    if arguments.out and not Path(arguments.out).resolve().parent.is_dir():
        raise UsageError(f"the folder of --out {arguments.out!r} does not exist")
    bench = importlib.import_module(f"radnet.launch.bench.{arguments.name}")
    measured = bench.measure(arguments.repeats)
    context = {"machine": machine(), "versions": versions(), "command": "radnet bench " + " ".join(argv)}
    for one in measured:
        print(_line(one))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps([asdict(one) | context for one in measured], indent=1) + "\n")
        print(f"{len(measured)} records in {arguments.out}")
        if hasattr(bench, "picture"):
            bench.picture(measured, Path(arguments.out).with_suffix(".png"))
            print(f"picture in {Path(arguments.out).with_suffix('.png')}")
    return OK


def _line(one: Record) -> str:
    beside = f"  {one.rival} {one.rival_value:.4g} (x{one.ratio:.2f})" if one.ratio is not None else ""
    verdict = f"  target {one.target}: {'met' if one.met else 'missed'}" if one.target else ""
    return f"{one.metric:<32} {one.value:10.4g} {one.unit}{beside}{verdict}"
