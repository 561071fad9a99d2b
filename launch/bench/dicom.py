"""DICOM in: headers a second beside pydicom's, and slices a second from files to a checked volume beside its peers.

One worker on one core (the process and its children are pinned to it, SimpleITK is given one thread), files in the page
cache, everybody in turn within every repeat. Measured on a CT series the bench writes itself, and on the largest
uncompressed upright series below RADNET_TEST_DATA if that is set. dcm2niix is timed as its users start it: a process
that ends with an uncompressed NIfTI file.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from radnet.launch.bench import Record, record
from radnet.launch.bench.ct import write_series

NUM_PASSES = 3  # over the files, in one measurement of headers
TARGETS = {"pydicom headers": 5.0, "dcm2niix": 1.5, "SimpleITK": 3.0}


def measure(repeats: int) -> list[Record]:
    """Records of the series written here, then of the real one. Pins the process to one core while it measures."""
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="radnet-bench-") as folder:
        files = {"made": write_series(Path(folder) / "made")}
        if real := os.environ.get("RADNET_TEST_DATA", ""):
            files["real"] = largest_series(real)
        try:
            os.sched_setaffinity(0, {min(cores)})
            print(f"one thread, pinned to core {min(cores)} of {len(cores)}; {repeats} repeats after a warm-up")
            return [one for name, series in files.items() if series for one in _measure(name, series, repeats, folder)]
        finally:
            os.sched_setaffinity(0, cores)


def largest_series(folder: str) -> list[str]:
    """Files of the uncompressed series below `folder` with the most bytes that radnet reads and whose slices are not
    tilted (dcm2niix writes those twice); [] where there is none."""
    from radnet.shards.dicom import read_header, read_volume
    from radnet.shards.elements import NATIVE_SYNTAXES
    from radnet.shards.inventory import list_files
    from radnet.shards.ledger import Code, SeriesError

    by_uid: dict[str, list] = {}
    for one in map(read_header, list_files(folder)):
        if one.code is Code.OK and one.transfer_syntax in NATIVE_SYNTAXES:
            by_uid.setdefault(one.series_uid, []).append(one)
    for series in sorted(by_uid.values(), key=lambda series: -sum(one.num_bytes for one in series)):
        files = [one.path for one in series]
        try:
            reading = read_volume(files)
        except SeriesError:
            continue
        if np.allclose(reading.volume.direction.T @ reading.volume.direction, np.eye(3), atol=1e-3):
            return files
    return []


def _measure(name: str, files: Sequence[str], repeats: int, folder: str) -> list[Record]:
    inputs, out = Path(folder) / f"{name}-in", Path(folder) / f"{name}-out"
    inputs.mkdir()
    out.mkdir()
    for number, file in enumerate(files):
        (inputs / f"{number:05d}.dcm").symlink_to(file)
    linked = sorted(map(str, inputs.iterdir()))
    headers = _in_turn({"radnet": _radnet_headers, "pydicom": _pydicom_headers}, linked, repeats, NUM_PASSES)
    volumes = {
        "radnet": _radnet_volume,
        "dcm2niix": lambda files: _dcm2niix(inputs, out),
        "SimpleITK": lambda files: _simpleitk(inputs),
        "pydicom": _pydicom_volume,
    }
    slices = _in_turn(volumes, linked, repeats, 1)
    found = [_beside(f"dicom/{name}/headers", "files/s", headers, "pydicom", TARGETS["pydicom headers"])]
    for rival in ("dcm2niix", "SimpleITK", "pydicom"):
        found.append(_beside(f"dicom/{name}/volume/{rival}", "slices/s", slices, rival, TARGETS.get(rival)))
    return found


def _beside(metric: str, unit: str, rates: dict[str, list[float]], rival: str, least: float | None) -> Record:
    judge = (lambda _, ratio: ratio >= least) if least else None
    target = f">= {least:g}x" if least else None
    ours, theirs = rates["radnet"], rates[rival]
    return record(metric, ours, unit, rival=rival, rival_values=theirs, target=target, met=judge)


def _in_turn(
    contenders: dict[str, Callable[[Sequence[str]], None]], files: Sequence[str], repeats: int, num_passes: int
) -> dict[str, list[float]]:
    """Files a second of each contender in each repeat; the first turn warms up and is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, read in contenders.items():
            start = time.perf_counter()
            for _ in range(num_passes):
                read(files)
            took_s = time.perf_counter() - start
            if turn:
                rates[name].append(num_passes * len(files) / took_s)
    return rates


def _radnet_headers(files: Sequence[str]) -> None:
    from radnet.shards.dicom import read_header

    for file in files:
        read_header(file)


def _pydicom_headers(files: Sequence[str]) -> None:
    from pydicom import dcmread

    for file in files:
        dcmread(file, stop_before_pixels=True)


def _radnet_volume(files: Sequence[str]) -> None:
    from radnet.shards.dicom import read_volume

    read_volume(files)


def _pydicom_volume(files: Sequence[str]) -> None:
    """Decoded, rescaled and in order of position, unchecked."""
    from pydicom import dcmread

    slices = sorted((dcmread(file) for file in files), key=lambda one: float(one.ImagePositionPatient[2]))
    rescales = [
        (float(one.RescaleSlope), float(one.RescaleIntercept)) if "RescaleSlope" in one else (1.0, 0.0)
        for one in slices
    ]
    np.stack([one.pixel_array * slope + add for one, (slope, add) in zip(slices, rescales, strict=True)]).astype(
        np.float32
    )


def _simpleitk(folder: Path) -> None:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.GetArrayViewFromImage(reader.Execute())


def _dcm2niix(folder: Path, out: Path) -> None:
    import dcm2niix

    words = [dcm2niix.bin, "-z", "n", "-b", "n", "-w", "1", "-f", "volume", "-o", str(out), str(folder)]
    subprocess.run(words, check=True, capture_output=True)
