"""Fuzzing of the DICOM door: no exception but SeriesError leaves it, nothing hangs, and no header kills the process.

    python -m tests.fuzz headers --runs 200000 [--seed N]    read_header and the inventory, by atheris
    python -m tests.fuzz files --runs 20000 [--seed N]       read_volume of a small series, by atheris

Seeds are series written here in every syntax, and the real data where RADNET_TEST_DATA names it. Both are mutated by
tests/mutate.py. Findings are written to --out (default: fuzz-findings below the temporary folder) with the input that
caused them. Exit 0: none; 1: some. A decoder that kills the process is counted and saved but is no escape: in
production it is a worker that dies, and its file is recorded as decoder_crash.
"""

import argparse
import hashlib
import multiprocessing.sharedctypes
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from radnet.shards.dicom import read_header, read_volume
from radnet.shards.inventory import list_files, to_table
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from tests import copies, jpeg_lossless
from tests.hostile import compressed, two
from tests.mutate import mutated, random_mutations
from tests.series import grouped, image, stored_voxels, write

KEY = PrivacyKey(bytes(32), is_public=False)
LIMIT_S = 20.0  # for one input; a slower one is a finding
MAX_HEADER_BYTES = 1 << 16
MAX_FILE_BYTES = 1 << 18
KINDS = (*map(str, Code), "escape", "hang", "death")
FRESH = 0.7  # share of inputs made from a seed; what libFuzzer kept is mostly damaged beyond the first check
_TIMEOUT_EXIT = 70
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = ("1.2.840.10008.1.2" + end for end in ("", ".1", ".2", ".1.99"))


def header_seeds(folder: Path) -> list[bytes]:
    """Headers with the first pixels: of series written into `folder`, and of one file of each real series."""
    seeds, seen = [Path(files[0]).read_bytes() for files in made_series(folder)], set()
    for path in _real_files():
        record = read_header(path)
        key = record.series_uid or hashlib.sha256(Path(path).read_bytes()[:4096]).hexdigest()
        if key not in seen and record.code is not Code.NOT_DICOM:
            seen.add(key)
            end = (record.pixel_offset or MAX_HEADER_BYTES) + 64
            seeds.append(Path(path).read_bytes()[: min(end, MAX_HEADER_BYTES)])
    return [seed[:MAX_HEADER_BYTES] for seed in seeds]


def file_seeds(folder: Path) -> list[tuple[bytes, ...]]:
    """Whole files of series of one or two files: written into `folder`, and with real pixels in all syntaxes."""
    series = [tuple(Path(file).read_bytes() for file in files) for files in made_series(folder)]
    found: dict[str, int] = {}
    for number, path in enumerate(_real_files()):
        record = read_header(path)
        found[record.transfer_syntax] = found.get(record.transfer_syntax, 0) + 1
        if record.num_bytes > MAX_FILE_BYTES or found[record.transfer_syntax] > 20:
            continue
        try:
            made = copies.as_two_slices(path, folder / f"real-{number}")
        except Exception:  # pydicom's, about a malformed file
            made = None
        if made is not None:
            series.append(tuple(Path(file).read_bytes() for file in made[0]))
    return [one for one in series if sum(map(len, one)) <= 2 * MAX_FILE_BYTES]


def made_series(folder: Path) -> list[list[str]]:
    """Two-slice series in every syntax that can be written here, and an enhanced file of four frames."""
    pixels = stored_voxels(1)[0].astype(np.uint16)
    jpeg2000 = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True)
    changes = {syntax: _set_syntax(syntax) for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)}
    changes[RLELossless] = lambda dataset: dataset.compress(RLELossless, generate_instance_uid=False)
    changes[JPEGLSLossless] = compressed(JPEGLSLossless, [imagecodecs.jpegls_encode(pixels)], *pixels.shape)
    changes[JPEGLosslessSV1] = compressed(JPEGLosslessSV1, [jpeg_lossless.encode(pixels, 16)], *pixels.shape)
    changes[JPEG2000Lossless] = compressed(JPEG2000Lossless, [jpeg2000], *pixels.shape)
    changes[HTJ2KLossless] = compressed(HTJ2KLossless, [imagecodecs.htj2k_encode(pixels)], *pixels.shape)
    series = [two(folder / str(syntax), change) for syntax, change in changes.items()]
    source = image(stored_voxels(4).reshape(-1, 5), [0, 0, 0], "MR")
    source.Rows, source.NumberOfFrames = 6, 4
    path = write(folder / "source.dcm", source)
    return [*series, copies.as_two_slices(path, folder / "enhanced")[0]]


def _set_syntax(syntax: str) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", syntax)


def _real_files() -> list[str]:
    folder = os.environ.get("RADNET_TEST_DATA", "")
    return list_files(folder) if folder else []


def read_one_header(path: str) -> str:
    """What the inventory does with a file; its code. Raises whatever escapes."""
    record = read_header(path)
    to_table(grouped([record], KEY))
    return str(Code(record.code))


def read_series(files: Sequence[str]) -> str:
    """What a worker does with a series; its code. Raises whatever escapes but SeriesError."""
    try:
        read_volume(files, min_slices=2, max_voxels=1 << 24)
    except SeriesError as error:
        return str(Code(error.code))
    return str(Code.OK)


class Findings:
    """Counts, shared with the process that fuzzes, and the inputs that were findings, in files."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._counts = multiprocessing.sharedctypes.RawArray("q", len(KINDS))
        out.mkdir(parents=True, exist_ok=True)

    def add(self, kind: str, detail: str = "", contents: Sequence[bytes] = ()) -> None:
        """Count; the first input of each kind and detail is saved, with the detail beside it."""
        self._counts[KINDS.index(kind)] += 1
        if kind not in set(Code):
            name = self.out / f"{kind}-{hashlib.sha256(detail.encode()).hexdigest()[:12]}"
            if not name.with_suffix(".txt").exists():
                name.with_suffix(".txt").write_text(detail)
                for number, content in enumerate(contents):
                    Path(f"{name}-{number}.dcm").write_bytes(content)

    def count(self, kind: str) -> int:
        """How many of a kind."""
        return self._counts[KINDS.index(kind)]

    def escaped(self, contents: Sequence[bytes]) -> None:
        """Count the exception being handled, told apart by where it was raised."""
        kind, error, trace = sys.exc_info()
        where = traceback.extract_tb(trace)[-1]
        self.add("escape", f"{kind.__name__}: {error}\n{where.filename}:{where.lineno} {where.name}", contents)

    def num_inputs(self) -> int:
        """How many inputs were read to some end."""
        return sum(self._counts)

    def summary(self) -> str:
        """One line: how many inputs ended how."""
        return ", ".join(f"{count} {kind}" for kind, count in zip(KINDS, self._counts, strict=True) if count)


@dataclass(frozen=True)
class Target:
    """seeds: what to mutate. read(unit) → contents of the files that the unit stands for, writing them into `files`."""

    seeds: list[bytes]
    files: list[Path]
    contents: Callable[[bytes], list[bytes]]
    read: Callable[[list[str]], str]
    num_kept: int  # bytes at the start of a unit that stay as they are


def headers_target(folder: Path) -> Target:
    """A unit is a header."""
    return Target(
        header_seeds(folder), [folder / "a.dcm"], lambda unit: [unit], lambda files: read_one_header(files[0]), 0
    )


def files_target(folder: Path) -> Target:
    """A unit is the number of a series, two bytes, and its first file; its second file stays whole."""
    series = file_seeds(folder)

    def contents(unit: bytes) -> list[bytes]:
        return [unit[2:], *series[int.from_bytes(unit[:2], "big") % len(series)][1:]]

    seeds = [number.to_bytes(2, "big") + files[0] for number, files in enumerate(series)]
    return Target(seeds, [folder / "a.dcm", folder / "b.dcm"], contents, read_series, 2)


TARGETS = {"headers": headers_target, "files": files_target}


def fuzz(target: Target, runs: int, seed: int, findings: Findings, folder: Path) -> None:
    """Run libFuzzer in a child, for it never returns and a decoder may kill it; then start the next one."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(target.seeds):
        (corpus / f"{number:04d}").write_bytes(content)
    children = 0
    while (left := runs - findings.num_inputs()) > 0:
        before = findings.num_inputs()
        child = os.fork()
        if child == 0:
            _fuzz_here(target, left, seed + children, findings, corpus)
        children += 1
        _, status = os.waitpid(child, 0)
        if status:
            kind = "hang" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _TIMEOUT_EXIT else "death"
            findings.add(
                kind,
                f"status {status}, child {children}",
                [file.read_bytes() for file in target.files if file.exists()],
            )
        if findings.num_inputs() == before:
            raise RuntimeError("the fuzzing process ends before its first input")


def _fuzz_here(target: Target, runs: int, seed: int, findings: Findings, corpus: Path) -> None:
    import atheris

    for name, module in list(sys.modules.items()):
        if name.startswith("radnet.shards"):
            _instrument(module, atheris.instrument_func)

    def one(unit: bytes) -> None:
        contents = target.contents(unit)
        used = [str(file) for file, _ in zip(target.files, contents, strict=False)]
        for file, content in zip(used, contents, strict=True):
            Path(file).write_bytes(content)
        start = time.monotonic()
        try:
            findings.add(target.read(used))
        except Exception:
            findings.escaped(contents)
        if time.monotonic() - start > LIMIT_S:
            findings.add("hang", "slow", contents)

    def mutate(unit: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < FRESH:
            unit = rng.choice(target.seeds)
        kept, content = unit[: target.num_kept], unit[target.num_kept :]
        return (kept + mutated(content, random_mutations(rng)))[:max_size]

    longest = max(map(len, target.seeds))
    options = [f"-runs={runs}", f"-seed={seed + 1}", f"-max_len={longest}", f"-timeout={int(2 * LIMIT_S)}"]
    options += [f"-timeout_exitcode={_TIMEOUT_EXIT}", f"-artifact_prefix={findings.out}/", "-rss_limit_mb=4096"]
    atheris.Setup(["fuzz", *options, "-verbosity=0", str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _instrument(module: ModuleType, instrument: Callable) -> None:
    scopes = [module, *(one for one in vars(module).values() if isinstance(one, type))]
    for scope in scopes:
        for function in list(vars(scope).values()):
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                instrument(function)


def main(arguments: Sequence[str]) -> int:
    """Exit code: 1 where something escaped or hung, or a header killed the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    chosen = parser.parse_args(arguments)
    findings, start = Findings(chosen.out), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        target = TARGETS[chosen.target](Path(folder))
        print(f"{len(target.seeds)} seeds, {sum(map(len, target.seeds)) >> 10} KB", flush=True)
        fuzz(target, chosen.runs, chosen.seed, findings, Path(folder))
    took_s = time.monotonic() - start
    print(f"{chosen.target}: {findings.num_inputs()} inputs in {took_s:.0f} s: {findings.summary()}")
    print(f"findings in {chosen.out}")
    bad = findings.count("escape") + findings.count("hang")
    return int(bad + (findings.count("death") if chosen.target == "headers" else 0) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
