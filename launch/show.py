"""Show one sample of a shard set: as a picture, or as NIfTI for other programs.

    radnet show SHARDS KEY [--out FILE]

KEY is a key of labels.parquet, or the beginning of one if no other begins like it. FILE decides the form by its ending:

  .png              three middle planes at their true proportions, the patient's right on the left, and all labels with
                    their evidence; CT from -200 to 300 HU, others from the 0.5th to the 99.5th percentile
  .nii or .nii.gz   the voxels and where they lie (RAS); a mask beside it as FILE with -mask before the ending

Without --out it is KEY.png in the current folder. Only the bytes of this sample are read, and checked. Leaves with 0
when all went well, 2 for a mistake in usage or a damaged sample.
"""

import argparse
import gzip
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radnet import store
from radnet.errors import OK, UsageError
from radnet.launch.cli import shard_set

ENDINGS = (".png", ".nii.gz", ".nii")
LABELS = ("family", "technique", "view", "contrast", "coverage", "spacing_mm")


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError for a user's mistake and for damaged samples."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="radnet show", description=__doc__, formatter_class=raw)
    parser.add_argument("shards", metavar="SHARDS", help="folder or URL of a finished shard set")
    parser.add_argument("key", metavar="KEY", help="key of a sample, or the beginning of one")
    parser.add_argument("--out", metavar="FILE", default="", help="file to write (default: KEY.png)")
    arguments = parser.parse_args(argv)
    root = shard_set(arguments.shards)
    ending = _ending(arguments.out or ".png")
    from radnet.shards.stored import find, read_sample

    index = store.read_index(root)
    row = find(store.read_labels(root), arguments.key)
    sample = read_sample(root, index.codec, row)
    lines = describe(row, sample)
    print("\n".join(lines))
    out = arguments.out or f"{row['key']}.png"
    for path, content in _files(out, ending, sample, lines):
        store.write_atomic(path, content)
        print(path)
    return OK


def _ending(out: str) -> str:
    ending = next((ending for ending in ENDINGS if out.endswith(ending)), "")
    if not ending:
        raise UsageError(f"--out {out!r} ends in none of {', '.join(ENDINGS)}")
    if "://" not in out and not Path(out).absolute().parent.is_dir():
        raise UsageError(f"--out {out!r} lies in a folder that does not exist; make it first")
    return ending


def _files(out: str, ending: str, sample: Any, lines: list[str]) -> list[tuple[str, bytes]]:
    """(path, content) of what is to be written."""
    if ending == ".png":
        from radnet.shards.poster import poster

        return [(out, poster(sample.volume, sample.mask, _window(sample), lines))]
    from radnet.shards.nifti import to_nifti

    images = {out: sample.volume.voxels}
    if sample.mask is not None:
        images[f"{out.removesuffix(ending)}-mask{ending}"] = sample.mask
    files = [(path, to_nifti(voxels, sample.volume.affine)) for path, voxels in images.items()]
    return [(path, gzip.compress(one, 6, mtime=0) if ending == ".nii.gz" else one) for path, one in files]


def _window(sample: Any) -> tuple[float, float]:
    from radnet.shards.thumbnail import HU_WINDOW

    is_ct = sample.provenance.get("header", {}).get("Modality") == "CT"
    return HU_WINDOW if is_ct else sample.percentiles[1:3]


def describe(row: Mapping[str, Any], sample: Any) -> list[str]:
    """What is known of a sample, line by line: where it lies, its grid, its labels with confidence and evidence."""
    volume, provenance = sample.volume, sample.provenance
    shape, spacing_mm = " x ".join(map(str, volume.voxels.shape)), " x ".join(f"{mm:.4g}" for mm in volume.spacing_mm)
    low, high = _window(sample)
    lines = [
        f"{row['key']}  {row['split']}, number {row['position']} of {row['shard']}",
        f"{row.get('collection') or 'no collection'}, {provenance.get('licence') or 'licence not stated'}",
        f"{shape} voxels of {spacing_mm} mm (D x H x W), {volume.voxels.dtype}; shown from {low:.5g} to {high:.5g}",
        "",
    ]
    for name in LABELS:
        value, evidence = row.get(name), row.get(f"{name}_evidence") or ""
        confidence = row.get(f"{name}_confidence") or 0.0
        lines.append(f"{name:<11}{_shown(value)}" + (f" ({confidence:.2f})" if confidence else "") + f"  {evidence}")
    notes = provenance.get("notes") or []
    return [line.rstrip() for line in [*lines, *(f"note       {note}" for note in notes)]]


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else value or "none"


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
