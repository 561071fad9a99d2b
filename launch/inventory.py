"""An archive before a byte is downloaded: which series, with which labels, how split, at what cost.

    radnet inventory --idc [CONFIG] [key=value …] --out DIR [--all]
    radnet inventory SOURCE [key=value …] --out DIR [--all]

--idc reads the index of the Imaging Data Commons (pip install idc-index-data). SOURCE is a folder of DICOM, a URL of
one, an s5cmd manifest or a .tcia manifest; the last two are looked up in the index. Writes inventory.parquet (one row
per series, with labels and their evidence), summary.json, and manifest.s5cmd where the series can be fetched by it.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radnet.config import describe
from radnet.errors import OK, UsageError

if TYPE_CHECKING:
    from radnet.shards.inventory.corpus import Corpus
    from radnet.shards.inventory.options import InventoryConfig

_OVERRIDE = re.compile(r"[+~-]*[a-z_]+(\.[a-z_]+)*=", re.IGNORECASE)
_SHOWN = 12


def _parser() -> argparse.ArgumentParser:
    from radnet.shards.inventory.options import InventoryConfig, ListedConfig

    known = [key for key, _, _ in describe(InventoryConfig)]
    more = [one for one in describe(ListedConfig) if one[0] not in known]
    rows = [f"  {key} = {default!r}\n      {text}" for key, default, text in [*describe(InventoryConfig), *more]]
    parser = argparse.ArgumentParser(
        prog="radnet inventory",
        description=__doc__,
        epilog="keys (for a SOURCE, nothing is left out unless a key says so):\n" + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="SOURCE | CONFIG | key=value", help="see above")
    parser.add_argument("--idc", action="store_true", help="the whole index of the Imaging Data Commons")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the inventory")
    parser.add_argument("--all", action="store_true", help="every row, with selected and reason")
    return parser


def main(argv: list[str]) -> int:
    """Run the program; returns its exit code. Raises UsageError for a user's mistake."""
    arguments = _parser().parse_intermixed_args(argv)
    overrides = [word for word in arguments.words if _OVERRIDE.match(word) and not Path(word).exists()]
    names = [word for word in arguments.words if word not in overrides]
    if len(names) > (1 if arguments.idc else 2):
        raise UsageError(
            f"{names} were given, expected {'one CONFIG' if arguments.idc else 'one SOURCE and one CONFIG'}"
        )
    if not arguments.idc and not names:
        raise UsageError("no source was given; name a folder, a URL or a manifest, or say --idc")
    from radnet.shards.inventory import output, sources

    out = Path(arguments.out)
    output.refuse_foreign(out)
    if arguments.idc:
        made = sources.from_idc(names[0] if names else None, overrides, everything=arguments.all)
    else:
        made = sources.from_source(names[0], (names[1:] or [None])[0], overrides, out, _say, everything=arguments.all)
    content = output.summary(made.corpus, made.config, made.extra)
    written = output.write(out, made.corpus, content, made.title, everything=arguments.all)
    print("\n".join(report(made.corpus, made.config, made.problems)))
    print(f"{out}: {', '.join(written)}")
    return OK


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def report(corpus: "Corpus", config: "InventoryConfig", problems: list[str]) -> list[str]:
    """The printed lines: notes, what is left out and why, counts, draw, splits, leakage, budget."""
    from radnet.shards.inventory.corpus import by_split

    selected = corpus.selected
    lines = [*corpus.notes, *problems, "", f"selected: {len(selected):,} of {corpus.num_all:,} series"]
    lines += _table(
        "left out", [(f"{n:,}", f"{reason}: {corpus.rules[reason]}") for reason, n in corpus.excluded.items()]
    )
    for column in ("Modality", "license_short_name", "family", "sequence", "view", "contrast", "split"):
        counts = corpus.counts(column)
        shown = ", ".join(f"{name or 'unknown'} {number:,}" for name, number in counts.items())
        lines.append(f"{column}: {shown}")
    collections = by_split(corpus, "collection_id")
    rows = [(f"{sum(n.values()):,}", f"{name or 'unknown'} ({_splits_text(n)})") for name, n in collections.items()]
    more = [(f"{len(rows) - _SHOWN}", "more collections; summary.json lists all")] if len(rows) > _SHOWN else []
    lines += _table(f"collections, {len(rows)}", rows[:_SHOWN] + more)
    if corpus.draws:
        num_draws = sum(one.num_draws for one in corpus.draws)
        lines += ["", f"draw of {config.draw.series:,}: {num_draws:,} draws of {len(selected):,} series"]
        lines += [f"  {one}" for one in corpus.draws]
        if config.disjoint == "collection":
            by_class = by_split(corpus, "sequence")
            whole = ", ".join(f"{name} {numbers['test']:,}" for name, numbers in by_class.items() if numbers["test"])
            lines.append(f"  and test, whole: {whole or 'none'}")
    lines += ["", _leakage_text(corpus, config)]
    width = max(len(figure.name) for figure in corpus.budget)
    lines += ["", "budget"]
    lines += [f"  {figure.name:<{width}}  {figure!s:<22}  {figure.assumption}" for figure in corpus.budget]
    return lines


def _table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(number) for number, _ in rows), default=0)
    return [title, *(f"  {number:>{width}}  {text}" for number, text in rows)] if rows else []


def _splits_text(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items() if number)


def _leakage_text(corpus: "Corpus", config: "InventoryConfig") -> str:
    found = corpus.leakage
    text = f"leakage: {found.patients} patients, {found.studies} studies, {found.series} series in more than one split"
    text += ", compared across all collections"
    of_test = f"{found.collections} collections both in test and elsewhere"
    return f"{text}; {of_test}" + ("" if config.disjoint == "collection" else " (splits are by patient)")


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
