"""Turn archives of DICOM series, or NIfTI cases, into a shard set.

    radnet shard CONFIG [--extend] [key=value …]
    ray job submit --working-dir . -- python launch/shard.py CONFIG [key=value …]

Run it again after an interruption: only missing shards are built. --extend adds the series that the sources have got
since, as new shards; no patient changes the split. Leaves with 0 when all went well, 2 for a mistake in
usage or input, 8 when some series failed (ledger.parquet says which and why).
"""

import sys
import time

from radnet.errors import FINISHED_WITH_FAILURES, OK
from radnet.launch.cli import config_parser
from radnet.shards.config import ShardConfig

SHOWN_FAILURES = 5


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError for a user's mistake."""
    parser = config_parser("shard", __doc__, ShardConfig)
    parser.add_argument("--extend", action="store_true", help="add new series of the sources to a finished set")
    arguments = parser.parse_args(argv)
    from radnet.config import load
    from radnet.shards.build import build
    from radnet.urls import shown

    config = load(ShardConfig, arguments.config, arguments.overrides)
    start = time.monotonic()
    totals = build(config, lambda line: print(line, file=sys.stderr, flush=True), arguments.extend)
    print(
        f"{shown(config.out)}: {totals.sharded} series sharded, {totals.excluded} excluded, {totals.failed} failed, "
        f"{totals.num_bytes / 1e6:.1f} MB, {time.monotonic() - start:.1f} s"
    )
    if totals.failures and sys.stderr.isatty():  # names of files stay on a local terminal
        for name, code, detail in totals.failures[:SHOWN_FAILURES]:
            print(f"failed: {name}: {code} {detail}".rstrip(), file=sys.stderr)
    return FINISHED_WITH_FAILURES if totals.failed else OK


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
