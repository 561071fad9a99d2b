"""Write the digital phantom: OUT/dicom (ordinary DICOM folders), OUT/truth (exact labels and organ masks) and OUT/cases
(LiTS layout). The same seed gives the same bytes.
"""

import argparse
import os
from pathlib import Path

from radnet.errors import OK, UsageError


def main(argv: list[str]) -> int:
    """Parse, write, say what was written; returns the exit code."""
    from radnet.shards.phantom import write_archive, write_cases

    parser = argparse.ArgumentParser(prog="radnet phantom", description=__doc__)
    parser.add_argument("out", metavar="OUT", help="new or empty folder")
    parser.add_argument("--patients", type=int, default=60, help="patients of the archive (default 60)")
    parser.add_argument("--cases", type=int, default=24, help="liver cases in LiTS layout (default 24)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    out = Path(arguments.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{arguments.out!r} is not an empty folder; give a new one")
    if arguments.patients < 1 or arguments.cases < 0:
        raise UsageError("--patients must be at least 1 and --cases at least 0")
    workers = len(os.sched_getaffinity(0))
    summary = write_archive(
        out / "dicom", out / "truth", num_patients=arguments.patients, seed=arguments.seed, num_workers=workers
    )
    write_cases(out / "cases", num_cases=arguments.cases, seed=arguments.seed)
    print(f"{summary}; {arguments.cases} liver cases")
    return OK


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
