"""The whole line on the digital phantom: archive, shards, pretraining, Table 1, liver segmentation, export, report.

About ten minutes on two CPU cores. --dicom adds a folder of your own DICOM, which is only read.
"""

import argparse
import json
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from radnet.errors import BUG, FINISHED_WITH_FAILURES, OK, USAGE, UsageError
from radnet.launch.cli import existing_folder
from radnet.launch.stations import Measured, Station, last_lines, run_station, script

MARK = ".radnet-demo"
PROCESSES = 2
PUBLIC = {"privacy": {"key": "public"}}


@dataclass(frozen=True)
class Size:
    """How large a demo is. training: overrides of both training configs."""

    patients: int = 108
    cases: int = 30
    training: tuple[str, ...] = ()


def main(argv: list[str]) -> int:
    """Parse, run every station, sum up; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="radnet demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="runs/demo", help="folder of the demo, emptied first (default runs/demo)")
    parser.add_argument("--dicom", metavar="FOLDER", help="shard this folder too; it is never written to")
    arguments = parser.parse_args(argv)
    if arguments.dicom:
        existing_folder(arguments.dicom, "a folder of DICOM files")
    dicom = Path(arguments.dicom).resolve() if arguments.dicom else None
    out = Path(arguments.out).resolve()
    if dicom and (dicom.is_relative_to(out) or out.is_relative_to(dicom)):
        raise UsageError(f"{dicom} and the demo's folder {out} lie in each other; give --out another folder")
    stations = plan(fresh(out), dicom, Size())
    measured: list[Measured] = []
    for number, station in enumerate(stations, 1):
        print(f"[{number}/{len(stations)}] {station.name} …", end=" ", flush=True)
        measured.append(run_station(station, out / "logs" / f"{station.name}.log"))
        (out / "line.json").write_text(json.dumps([asdict(one) for one in measured], indent=1))
        done = measured[-1]
        print(f"{done.seconds:.0f} s, {done.peak_mb:.0f} MB", flush=True)
        if done.code not in station.accepted:
            log = out / "logs" / f"{station.name}.log"
            print(f"radnet: {station.name} left with code {done.code}; {log} ends:\n{last_lines(log)}", file=sys.stderr)
            return USAGE if done.code == USAGE else BUG
    print(summary(out, measured))
    return OK


def fresh(out: Path) -> Path:
    """An empty folder; an earlier demo there is removed, anything else is left alone and refused."""
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / MARK).is_file()):
            raise UsageError(f"{out} exists and is not an earlier demo; give --out another folder")
        shutil.rmtree(out)
    (out / "logs").mkdir(parents=True)
    (out / MARK).touch()
    return out


def plan(out: Path, dicom: Path | None, size: Size) -> list[Station]:
    """The stations in order; each is a program a user would call, with its own configuration file in out."""
    archive = out / "archive"
    sources = [{"path": str(archive / "dicom"), "kind": "dicom", "collection": "phantom", "licence": "CC0-1.0"}]
    if dicom:
        sources.append({"path": str(dicom), "kind": "dicom", "collection": "own", "licence": "unknown"})
    # The published key serves the phantom alone; with a user's own series the user's own key hashes every name.
    _write(out / "shard.yaml", out / "shards", sources, [0.55, 0.1, 0.35], **({} if dicom else PUBLIC))
    cases = [{"path": str(archive / "cases"), "kind": "nifti", "collection": "phantom", "licence": "CC0-1.0"}]
    _write(out / "cases.yaml", out / "cases", cases, [0.5, 0.15, 0.35], **PUBLIC)
    shards, pretrained, table = str(out / "shards"), str(out / "pretrain"), str(out / "evaluation.json")
    finetuned = {init: str(out / f"finetune-{init}") for init in ("pretrained", "random")}
    truth = str(archive / "truth" / "truth.csv")
    accepted = (OK, FINISHED_WITH_FAILURES)
    return [
        Station("phantom", [*script("phantom"), str(archive), f"--patients={size.patients}", f"--cases={size.cases}"]),
        Station("shards", [*script("shard"), str(out / "shard.yaml")], accepted),
        Station("cases", [*script("shard"), str(out / "cases.yaml")], accepted),
        Station("pretrain", _deepspeed("pretrain", "pretrain_demo", pretrained, shards, size)),
        Station(
            "evaluate", [*script("evaluate"), pretrained, f"--shards={shards}", f"--truth={truth}", f"--out={table}"]
        ),
        *(
            Station(
                f"finetune-{init}",
                _deepspeed("finetune", "finetune_demo", run, str(out / "cases"), size)
                + ([f"model.init={pretrained}"] if init == "pretrained" else []),
            )
            for init, run in finetuned.items()
        ),
        Station("export", [*script("export"), pretrained, str(out / "weights"), f"--evaluation={table}"]),
        Station(
            "report",
            [*script("report"), f"--shards={shards}", f"--run={pretrained}", f"--evaluation={table}"]
            + ["--finetune", *finetuned.values(), f"--out={out / 'report.html'}"],
        ),
    ]


def _write(path: Path, out: Path, sources: list[dict], fractions: list[float], **privacy: dict) -> None:
    """A configuration of radnet shard."""
    import yaml

    splits = dict(zip(("train", "validation", "test"), fractions, strict=True))
    content = {"out": str(out), "sources": sources, "splits": splits, "shard_bytes": 64_000_000} | privacy
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _deepspeed(program: str, config: str, run: str, shards: str, size: Size) -> list[str]:
    """A training program under DeepSpeed's launcher, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [str(Path(sys.executable).with_name("deepspeed")), f"--num_accelerators={PROCESSES}"]
    address = ["--master_addr=127.0.0.1", f"--master_port={port}"]
    return [*launcher, *address, script(program)[1], config, f"run={run}", f"data.shards={shards}", *size.training]


def summary(out: Path, measured: list[Measured]) -> str:
    """What was measured and where everything lies."""
    dice = {}
    for init in ("pretrained", "random"):
        result = json.loads((out / f"finetune-{init}" / "result.json").read_text())
        dice[init] = f"{result['dice_mean']:.3f}"
    totals = json.loads((out / "shards" / "index.json").read_text())["totals"]
    rows = json.loads((out / "evaluation.json").read_text())["header"]["rows"]
    accuracy = ", ".join(
        f"{row['label']} {100 * row['accuracy']:.0f} % (majority {100 * row['majority']:.0f} %)"
        for row in rows
        if row["low"] is not None
    )
    places = {
        "report": "report.html",
        "weights": "weights/",
        "shards": "shards/",
        "archive": "archive/dicom/",
        "truth": "archive/truth/",
        "runs": "pretrain/, finetune-*/",
        "logs": "logs/",
    }
    lines = [
        "",
        f"series: {totals['sharded']} sharded, {totals['excluded']} excluded, {totals['failed']} failed",
        f"held-out accuracy: {accuracy}",
        f"liver Dice of test cases, on the network's grid: {dice['pretrained']} from pretrained weights, "
        f"{dice['random']} from random ones",
        f"total: {sum(one.seconds for one in measured):.0f} s, peak {max(one.peak_mb for one in measured):.0f} MB",
        f"everything lies in {out}:",
        *(f"  {name:<8} {place}" for name, place in places.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
