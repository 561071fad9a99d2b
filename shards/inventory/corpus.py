"""A table of series into a corpus: labelled, selected, split, drawn, checked for leaks and budgeted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet.errors import UsageError
from radnet.shards.inventory import division, draw, select, text
from radnet.shards.inventory.budget import Figure, Series, budget, uncompressed
from radnet.shards.inventory.columns import codes, spread
from radnet.shards.inventory.idc import IdcIndex
from radnet.shards.inventory.options import InventoryConfig
from radnet.shards.inventory.select import KEPT, Rule
from radnet.shards.plan import SPLITS
from radnet.shards.privacy import load_key

if TYPE_CHECKING:
    import pyarrow

IDC_NAMES = ("SeriesInstanceUID", "StudyInstanceUID", "PatientID")


@dataclass(frozen=True)
class Corpus:
    """A finished corpus. table: every series asked for, with split, draws, selected and reason. rules: reason → what it
    says. excluded: reason → series. notes: what whoever reads the figures must know, one line each."""

    table: "pyarrow.Table"
    num_all: int
    rules: dict[str, str]
    excluded: dict[str, int]
    leakage: division.Leakage
    draws: list[draw.ClassDraw]
    budget: list[Figure]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def selected(self) -> "pyarrow.Table":
        """The rows that are in the corpus."""
        return self.table.filter(self.table["selected"])

    def counts(self, column: str) -> dict[str, int]:
        """Selected series by the values of a column, the most frequent first; "" where unknown."""
        numbers, names = codes(self.selected[column])
        totals = np.bincount(numbers, minlength=len(names))
        pairs = [(str(name or ""), int(total)) for name, total in zip(names, totals, strict=True) if total]
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


@dataclass
class Draft:
    """A corpus in the making: rows with labels and patients, and why each is left out so far (KEPT: it is not).

    names: the columns of series, study and patient.
    """

    table: "pyarrow.Table"
    names: tuple[str, str, str]
    who: division.Patients
    reasons: np.ndarray
    num_all: int
    rules: dict[str, str]
    excluded: dict[str, int]

    def leave_out(self, rule: Rule) -> None:
        """Give the rows that break a rule its reason, unless they have one."""
        broken = (self.reasons == KEPT) & ~rule.kept
        self.reasons[broken] = rule.reason
        if broken.any():
            self.rules[rule.reason] = rule.text
            self.excluded[rule.reason] = self.excluded.get(rule.reason, 0) + int(broken.sum())


def from_index(index: IdcIndex, config: InventoryConfig, *, everything: bool, rows: np.ndarray | None = None) -> Corpus:
    """The corpus that a config makes of the index, or of some rows of it; with the rows left out if `everything`.

    Raises UsageError for an unknown collection and where nothing is left.
    """
    series = index.series
    who = division.patients(series, load_key("public"))  # of the whole index, so that a part has the same splits
    if rows is not None:
        series, who = series.take(rows), who.of(rows)
    made = select.rules(series, index.species, config)
    reasons = select.first_broken(made, len(series))
    texts = {rule.reason: rule.text for rule in made}
    draft = Draft(series, IDC_NAMES, who, reasons, len(series), {}, {})
    found, counts = np.unique(reasons[reasons != KEPT], return_counts=True)
    totals = dict(zip(found.tolist(), counts.tolist(), strict=True))
    draft.excluded = {reason: totals[reason] for reason in texts if reason in totals}
    draft.rules = {reason: texts[reason] for reason in draft.excluded}
    if not everything:
        kept = reasons == KEPT
        draft.table, draft.reasons = series.filter(kept), reasons[kept]
        draft.who = who.of(np.flatnonzero(kept))
    refuse_empty(draft)
    draft.table = _beside(draft.table, text.label_columns(draft.table, index.sites, config.taxonomy))
    return finish(draft, config, _notes(index, config))


def _notes(index: IdcIndex, config: InventoryConfig) -> list[str]:
    notes = [f"index of IDC {index.version}, {len(index.series):,} series"]
    if wanted := len(config.published_collections):
        gone, emptied = select.gone(index.series, config), select.emptied(index.series, config)
        left = wanted - len(gone) - len(emptied)
        modalities = " or ".join(config.modalities) or "any"
        notes.append(f"published collections: {left} of {wanted} hold {modalities} series")
        if gone:
            notes.append(f"gone from the index, {len(gone)}: {', '.join(gone)}")
        if emptied:
            notes.append(f"in the index without {modalities} series, {len(emptied)}: {', '.join(emptied)}")
    return notes


def refuse_empty(draft: Draft) -> None:
    """Raise UsageError, with what every rule left out, where no row is kept."""
    if not (draft.reasons == KEPT).any():
        told = "; ".join(f"{draft.excluded[reason]:,} {text}" for reason, text in draft.rules.items())
        raise UsageError(f"no series is left of {draft.num_all:,} ({told}); loosen a filter")


def _beside(table: "pyarrow.Table", more: "pyarrow.Table | Mapping[str, Any]") -> "pyarrow.Table":
    names = more.column_names if hasattr(more, "column_names") else list(more)
    for name in names:
        table = table.append_column(name, more[name])
    return table


def finish(draft: Draft, config: InventoryConfig, notes: Sequence[str]) -> Corpus:
    """Split, select by label, draw, check and budget. Raises UsageError where nothing is left or splits leak."""
    import pyarrow

    for rule in select.by_label(draft.table, config):
        draft.leave_out(rule)
    split = division.splits(draft.who, draft.table, config)
    straddling = division.straddling(draft.who, split, draft.reasons == KEPT)
    draft.leave_out(Rule("patient_in_test", "its patient is in test, through another collection", ~straddling))
    draft.leave_out(_surplus(draft, split, config))
    refuse_empty(draft)
    drawn, report = _draws(draft, split, config)
    draft.leave_out(Rule("not_drawn", "not drawn: its class has enough", drawn > 0))
    kept = draft.reasons == KEPT
    reasons, numbers = np.unique(draft.reasons, return_inverse=True)
    table = _beside(
        draft.table,
        {
            "patient_key": spread(draft.who.keys, draft.who.numbers, pyarrow.string()),
            "split": pyarrow.array(np.where(kept, split, ""), pyarrow.string(), mask=~kept),
            "draws": pyarrow.array(np.where(kept, drawn, 0), pyarrow.int32()),
            "selected": pyarrow.array(kept),
            "reason": spread([reason or None for reason in reasons.tolist()], numbers, pyarrow.string()),
        },
    )
    found = division.leakage(table, draft.reasons, draft.names)
    if found.leaks(config):
        shared = ", ".join(f"{number} {name}" for name, number in asdict(found).items())
        raise UsageError(f"splits leak ({shared} in several splits); exclude one of the collections that share them")
    made = Corpus(table, draft.num_all, draft.rules, draft.excluded, found, report, [], list(notes))
    made.budget.extend(budget(_drawn_series(made.selected), config.budget))
    if num := division.num_shared(made.selected, draft.names[2]):
        made.notes.append(f"{num} patients are in several collections; each is in one split")
    return made


def _surplus(draft: Draft, split: np.ndarray, config: InventoryConfig) -> Rule:
    """Series of test beyond the number that one patient may have there. The rarest sequence of a patient stays, so that
    a class of a few series is not lost by chance; then the order of drawing decides."""
    limit = config.test_series_per_patient
    kept = np.ones(len(split), bool)
    rows = np.flatnonzero((draft.reasons == KEPT) & (split == "test"))
    if limit and len(rows):
        numbers, names = codes(draft.table["sequence"].take(rows))
        frequency = np.bincount(numbers, minlength=len(names))
        frequency[-1] = len(rows) + 1  # an unknown sequence is nobody's rare class
        uids = draft.table[draft.names[0]].take(rows).to_pylist()
        place = draw.ranks(uids, draft.who.numbers[rows], config.draw.seed)
        seen: dict[int, int] = {}
        for row in rows[np.lexsort((place, frequency[numbers]))].tolist():
            person = int(draft.who.numbers[row])
            seen[person] = seen.get(person, 0) + 1
            kept[row] = seen[person] <= limit
    return Rule("test_surplus", f"test holds {limit} series of its patient already", kept)


def _draws(draft: Draft, split: np.ndarray, config: InventoryConfig) -> tuple[np.ndarray, list[draw.ClassDraw]]:
    drawn = (draft.reasons == KEPT).astype(np.int64)
    if not config.draw.series:
        return drawn, []
    # A test split of chosen collections is taken whole: a draw would leave a fraction of a small set.
    is_whole = (split == "test") & (config.disjoint == "collection")
    rows = np.flatnonzero((drawn > 0) & ~is_whole)
    num = max(config.draw.series - int(drawn[is_whole].sum()), 0)
    members = draft.table.select([draft.names[0], "sequence"]).take(rows)
    drawn[rows], report = draw.draw(
        members["sequence"].to_pylist(),
        members[draft.names[0]].to_pylist(),
        draft.who.numbers[rows],
        split[rows] == "train",
        num=num,
        cap=config.draw.cap,
        seed=config.draw.seed,
    )
    return drawn, report


def _drawn_series(table: "pyarrow.Table") -> Series:
    def text_of(name: str) -> np.ndarray:
        return np.array([value or "" for value in table[name].to_pylist()], dtype=object)

    num_bytes = table["series_size_MB"].to_numpy() * 1e6
    is_read = "voxel_bytes" in table.column_names  # an archive whose headers were read knows its voxels
    voxels = table["voxel_bytes"].to_numpy() if is_read else uncompressed(num_bytes, text_of("TransferSyntaxUID"))
    return Series(
        modality=text_of("Modality"),
        num_bytes=None if is_read else num_bytes,
        voxel_bytes=voxels,
        num_files=table["instanceCount"].to_numpy(),
        num_slices=table["num_slices" if is_read else "instanceCount"].to_numpy(),
        split=text_of("split"),
        draws=table["draws"].to_numpy(),
    )


def by_split(corpus: Corpus, column: str) -> dict[str, dict[str, int]]:
    """Selected series by the values of a column and by split."""
    selected = corpus.selected
    found: dict[str, dict[str, int]] = {}
    for name, split in zip(selected[column].to_pylist(), selected["split"].to_pylist(), strict=True):
        found.setdefault(name or "", dict.fromkeys(SPLITS, 0))[split] += 1
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))
