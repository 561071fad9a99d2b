"""Series of the digital phantom for tests: written one by one, and read back with pydicom."""

from pathlib import Path

import numpy as np
import pydicom

from radnet.shards.phantom.archive import write_series


def write_one(plan, folder: Path) -> list[Path]:
    write_series(plan, folder)
    return sorted(folder.iterdir())


def read_stack(paths) -> list[pydicom.Dataset]:
    slices = [pydicom.dcmread(path) for path in paths]
    normal = np.cross(slices[0].ImageOrientationPatient[:3], slices[0].ImageOrientationPatient[3:])
    return sorted(slices, key=lambda one: float(np.dot(one.ImagePositionPatient, normal)))
