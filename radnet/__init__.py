"""radnet: from an archive of DICOM series to a pretrained 3D backbone, with the labels DICOM headers already carry.

In a checkout the folders `kernels`, `shards` and `launch` lie beside this package; they are reached as
`radnet.kernels`, `radnet.shards` and `radnet.launch` because the folder above is appended to `__path__`. In a wheel
they lie inside.
"""

from pathlib import Path

__version__ = "0.1.0"

_above = Path(__file__).resolve().parent.parent
if (_above / "shards" / "ledger.py").is_file():
    __path__.append(str(_above))
