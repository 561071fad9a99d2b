"""What the driver of `radnet shard` costs: many tiny series, whose headers and middle slices are read for real.

    python -m radnet.launch.bench.driver NUM FOLDER

Workers write shards whose volumes are made up, for the driver does not see a volume anyway. Prints the driver's
processor seconds and its largest resident memory in MB. 400,000 and a million series take about half an hour and more
than an hour on two cores, and 8 KB of disk each:

    python -m radnet.launch.bench.driver 400000 /large/disk && python -m radnet.launch.bench.driver 1000000 /large/disk2
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from radnet.shards.inventory import Entry
    from radnet.shards.sample import BuildTask, Built

NUM_SLICES, SIZE = 2, 4
SERIES_PER_PATIENT = 4
PER_FOLDER = 256  # series; their files are read by one task


def main(argv: list[str]) -> int:
    """Write the archive, shard it, print two numbers."""
    num, folder = int(argv[0]), Path(argv[1])
    write_archive(folder / "in", num)
    from radnet.shards import build as driver
    from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig

    config = ShardConfig(
        out=str(folder / "out"),
        sources=[SourceConfig(str(folder / "in"), "dicom", "bench", "CC0")],
        codec="npy",
        shard_bytes=256 * NUM_SLICES * SIZE * SIZE * 2,
        min_slices=NUM_SLICES,
        privacy=PrivacyConfig("public"),
    )
    driver.build_shard = made_up_shard
    start = time.process_time()
    totals = driver.build(config, lambda line: print(line, file=sys.stderr))
    seconds = time.process_time() - start
    if totals.sharded != num:
        raise RuntimeError(f"{totals.sharded} of {num} series were sharded")
    print(f"{seconds:.3f} {_peak_mb():.1f}")
    return 0


def _peak_mb() -> float:
    """Largest resident memory of this process; getrusage would tell of whoever started it."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def made_up_shard(task: "BuildTask", killers: frozenset[int]) -> "Built":
    """What `sample.build_shard` leaves, with a few bytes for every volume."""
    from radnet.labels import RULES_VERSION, read
    from radnet.shards.ledger import Code
    from radnet.shards.sample import Built, ledger_row
    from radnet.shards.write import Outcome, Sample, write_shard

    facts = read({"Modality": "CT", "SeriesDescription": "CT CHEST"}).row() | {"rules_version": RULES_VERSION}

    def outcome(entry: "Entry") -> Outcome:
        place = {"split": task.split, "patient_key": entry.patient_key, "collection": entry.origin.collection}
        place |= {"pixel_hash": entry.pixel_hash, "face": entry.face, "num_slices": NUM_SLICES}
        return Outcome(ledger_row(entry, Code.OK), Sample(entry.key, {"json": b"{}"}, place | facts))

    sidecar = write_shard(task.stem, map(outcome, task.items), task.mark)
    return Built(task.name, {"ok": len(sidecar.ledger)}, NUM_SLICES * len(sidecar.ledger), sidecar.info.num_bytes)


def write_archive(folder: Path, num: int) -> None:
    """`num` series of two CT slices of 4 by 4, by filling in the numbers of a file that pydicom wrote."""
    from pydicom import dcmwrite

    template = folder.parent / "template.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    dcmwrite(template, _template(), enforce_file_format=True)
    content = template.read_bytes()
    rng = np.random.default_rng(0)
    for series in range(num):
        inside = folder / f"{series // PER_FOLDER:05d}"
        inside.mkdir(exist_ok=True)
        for number in range(NUM_SLICES):
            filled = content.replace(b"1000001", b"%07d" % (1_000_001 + series)).replace(
                b"PHANTOM-0000", _patient(series)
            )
            filled = filled.replace(b"0\\0\\100 ", b"0\\0\\%-4d" % (100 + 2 * number))
            pixels = rng.integers(0, 1000, SIZE * SIZE).astype("<i2").tobytes()
            (inside / f"{series:07d}-{number}.dcm").write_bytes(filled[: -len(pixels)] + pixels)


def _patient(series: int) -> bytes:
    return b"PHANTOM-%04x" % (series // SERIES_PER_PATIENT % 0x10000)


def _template():
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.1000001.9"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.1000001.9"
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.1000001.1", "1.2.3.1000001.2"
    dataset.PatientID, dataset.Modality, dataset.Manufacturer = "PHANTOM-0000", "CT", "SIEMENS"
    dataset.ImageType, dataset.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT CHEST"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = "0\\0\\100", [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2
    dataset.Rows = dataset.Columns = SIZE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = np.zeros((SIZE, SIZE), np.int16).tobytes()
    return dataset


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
