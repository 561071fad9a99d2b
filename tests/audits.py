"""Audits for tests: the program on a folder, and the tables it wrote."""

import csv
from pathlib import Path

from radnet.launch import label
from tests.series import write_series


def audit(folder: Path, out: Path, *more: str) -> int:
    """Run radnet label with the public key; returns its exit code."""
    return label.main([str(folder), "--out", str(out), "--key", "public", *more])


def read_csv(out: Path, name: str = "labels.csv") -> list[dict[str, str]]:
    """The rows of a table of an audit."""
    with open(out / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_small_archive(folder: Path) -> Path:
    """Five series of 20 slices: three of CT, and two of MR of which one contradicts itself; and a text."""
    for number in range(5):

        def edit(dataset, slice_number, number=number):
            dataset.SeriesInstanceUID = f"1.2.3.4.{number}"
            dataset.SeriesDescription = ("chest +C", "head", "Becken nativ", "T1 SE", "T1 SE")[number]
            if number > 2:
                dataset.ScanningSequence = "SE"
                dataset.RepetitionTime, dataset.EchoTime = (500, 10) if number == 3 else (5000, 100)

        write_series(folder / f"series{number}", modality="MR" if number > 2 else "CT", edit=edit)
    (folder / "notes.txt").write_text("no image\n")
    return folder
