"""Read the labels of a finished shard set again, or set them by hand. Tars are not touched.

    radnet relabel SHARDS [--overrides FILE.csv] [--taxonomy paper|extended] [--private DIR]

Applies today's rules to the full headers: the inventory that radnet shard left in the private folder, which the owner
of a set has, or the tars of a set that was made with keep_free_text. Writes labels.parquet and, after it, its hash in
index.json; writes nothing where nothing changed, and prints what did. A set without full headers takes what is set by
hand, and nothing else.

overrides: a CSV file with the columns series_key,label,value,who,why (see radnet label --help). It wins over the rules,
and its evidence reads "override by WHO: WHY". FILE holds all that is set by hand: what an earlier file set and FILE
does not say goes back to the rules; a FILE of the header line alone undoes everything. Without --overrides, labels
whose evidence begins "override by" stay as they are.

A set that grows (radnet shard --extend) keeps these labels; new series get those of today's rules.

Leaves with 0 when all went well, 2 for a mistake in usage or input.
"""

import argparse
import sys

from radnet.errors import OK
from radnet.launch.cli import shard_set
from radnet.urls import shown


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError for a user's mistake and for damaged sets."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="radnet relabel", description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("shards", metavar="SHARDS", help="folder or URL of a finished shard set")
    add("--overrides", metavar="FILE.csv", help="labels set by hand, which win; replaces an earlier file")
    add("--taxonomy", choices=("paper", "extended"), default="paper", help="classes of sequence (default paper: five)")
    add("--private", metavar="DIR", default="", help="private folder, where the config names one (privacy.folder)")
    arguments = parser.parse_args(argv)
    root = shard_set(arguments.shards)
    from radnet.labels.taxonomy import taxonomy
    from radnet.shards import overrides
    from radnet.shards.relabel import changes, num_by_hand, relabel

    chosen = taxonomy(arguments.taxonomy)
    corrections = overrides.read(arguments.overrides, chosen) if arguments.overrides else None
    found = relabel(root, corrections, arguments.private)
    if not found.reads_rules:
        print(f"{shown(root)} has no full headers: rules were not read again", file=sys.stderr)
    if not found.is_new:
        print(f"{shown(root)}: nothing changed, nothing written")
        return OK
    versions = [" and ".join(sorted({row["rules_version"] for row in rows})) for rows in (found.before, found.after)]
    print(f"rules {versions[0]} → {versions[1]}, {num_by_hand(found.after)} samples with labels set by hand")
    for label, change in changes(found, chosen).items():
        print(f"{label:<11}{change.changed:>7} changed{change.gained:>7} gained{change.lost:>7} lost")
    print(f"{shown(root)}: labels.parquet and index.json written, {len(found.after)} samples")
    return OK


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
