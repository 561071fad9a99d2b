"""What the driver of `radnet shard` costs: a set of many tiny series, made and sharded for real.

    python -m radnet.launch.bench.driver NUM FOLDER

Prints the driver's processor seconds and its largest resident memory in MB. A million series take some hours and
40 GB of small files: python -m radnet.launch.bench.driver 1000000 /large/disk
"""

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

NUM_SLICES, SIZE = 2, 4
SERIES_PER_PATIENT = 4
PER_FOLDER = 256  # series; their files are read by one task


def main(argv: list[str]) -> int:
    """Write the archive, shard it, print two numbers."""
    num, folder = int(argv[0]), Path(argv[1])
    write_archive(folder / "in", num)
    from radnet.shards.build import build
    from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig

    config = ShardConfig(
        out=str(folder / "out"),
        sources=[SourceConfig(str(folder / "in"), "dicom", "bench", "CC0")],
        codec="npy",
        shard_bytes=256 * NUM_SLICES * SIZE * SIZE * 2,
        min_slices=NUM_SLICES,
        privacy=PrivacyConfig("public"),
    )
    start = time.process_time()
    totals = build(config, lambda line: print(line, file=sys.stderr))
    seconds = time.process_time() - start
    if totals.sharded != num:
        raise RuntimeError(f"{totals.sharded} of {num} series were sharded")
    print(f"{seconds:.3f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.1f}")
    return 0


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
            filled = content.replace(b"0000001", b"%07d" % (series + 1)).replace(b"PHANTOM-0000", _patient(series))
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
    meta.MediaStorageSOPInstanceUID = "1.2.3.0000001.9"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.0000001.9"
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.0000001.1", "1.2.3.0000001.2"
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
