"""Check a shard set: every file is as it was written, and all of them agree.

    radnet verify SHARDS

Hashes tar and idx of every shard, labels.parquet, ledger.parquet and ATTRIBUTION; compares the members of every tar
with labels.parquet and with the .idx, the sidecars with index.json, and the ledger with both; looks for a patient, or
for copies of an image, in two splits. Files that are not of the set are named, and do not make it damaged.

Leaves with 0 when all is whole, else with 2 and one line per file that is not.
"""

import argparse
import sys

from radnet.errors import OK, USAGE
from radnet.launch.cli import Ticker, shard_set
from radnet.urls import shown


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError where there is no finished shard set."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="radnet verify", description=__doc__, formatter_class=raw)
    parser.add_argument("shards", metavar="SHARDS", help="folder or URL of a finished shard set")
    root = shard_set(parser.parse_args(argv).shards)
    from radnet.shards.verify import check, strays

    ticker = Ticker()
    num_problems = 0
    for problem in check(root, ticker.show):
        ticker.clear()
        print(f"radnet: {problem}", file=sys.stderr)
        num_problems += 1
    ticker.clear()
    if found := strays(root):
        print(f"not of this set: {', '.join(found)}", file=sys.stderr)
    if num_problems:
        print("radnet: delete the shards and tables named, then run `radnet shard CONFIG` again", file=sys.stderr)
        return USAGE
    print(f"{shown(root)}: whole")
    return OK


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
