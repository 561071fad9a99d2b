"""overrides.csv: what is taken, what is refused with its line, and how it is applied to both kinds of rows."""

from dataclasses import replace
from pathlib import Path

import pytest

from radnet.errors import UsageError
from radnet.labels import TAXONOMIES
from radnet.labels import read as read_labels
from radnet.shards.overrides import Overrides, read

HEAD = "series_key,label,value,who,why\n"
T1 = {"Modality": "MR", "SeriesDescription": "T1 SE", "ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 10}


def _read(tmp_path: Path, text: str, taxonomy: str = "paper", encoding: str = "utf-8") -> Overrides:
    path = tmp_path / "o.csv"
    path.write_bytes(text.encode(encoding))
    return read(str(path), TAXONOMIES[taxonomy])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("k,modality,CT,me,x", "line 2: label is 'modality', expected one of sequence, view"),
        ("k,sequence,T1,me,x", "line 2: sequence is 'T1', expected one of CT, T1-SE"),
        ("k,sequence,,me,x", "line 2: sequence is ''"),
        ("k,view,oblique,me,x", "line 2: view is 'oblique', expected one of axial, coronal, sagittal, unknown"),
        ("k,contrast,maybe,me,x", "line 2: contrast is 'maybe'"),
        ("k,coverage,lung;heart,me,x", "line 2: coverage is 'lung;heart'"),
        ("k,coverage,,me,x", "line 2: coverage is ''"),
        ("k,spacing_mm,-1,me,x", "line 2: spacing_mm is '-1', expected a positive number"),
        ("k,spacing_mm,nan,me,x", "line 2: spacing_mm is 'nan'"),
        ('k,spacing_mm,"1,5",me,x', "line 2: spacing_mm is '1,5'"),
        ("k,view,axial,,x", "line 2: who is empty"),
        (",view,axial,me,x", "line 2: series_key is empty"),
        ("k,view,axial,me", "line 2: 4 cells, expected 5"),
        ("k,view,axial,me,x,y", "line 2: 6 cells, expected 5"),
        ("k,view,axial,me,x\n\nk,view,axial,you,y", "line 4: view of k is set in line 2 too"),
        ('k,view,axial,me,"x', "line 2: not CSV"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    with pytest.raises(UsageError) as caught:
        _read(tmp_path, HEAD + line)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["", "key,label,value,who,why\n", "series_key;label;value;who;why\n"])
def test_other_columns_are_refused(tmp_path, head):
    with pytest.raises(UsageError, match="line 1: the columns are .* expected series_key,label,value,who,why"):
        _read(tmp_path, head)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read(str(path), TAXONOMIES["paper"])
    with pytest.raises(UsageError, match="UnicodeDecodeError"):
        _read(tmp_path, HEAD + "k,view,axial,Müller,x", encoding="latin-1")


def test_what_spreadsheets_write_is_taken(tmp_path):
    text = "\ufeff" + HEAD.replace("\n", "\r\n") + 'k , view, coronal ,Müller,"two\r\nlines"\r\n,,,,\r\n'
    override = _read(tmp_path, text).by_key["k"]["view"]
    assert (override.value, override.evidence) == ("coronal", "override by Müller: two lines")


def test_labels_of_a_shard_set_are_replaced_as_facts(tmp_path):
    row = read_labels(T1).row()
    assert (row["family"], row["technique"]) == ("T1", "SE")
    lines = "k,sequence,T2-SE,me,seen\nk,coverage,liver;brain,me,\nk,contrast,unknown,me,dark\nk,spacing_mm,2.5,me,\n"
    changed = _read(tmp_path, HEAD + lines).apply("k", row)
    assert changed.keys() == row.keys()  # no column that a shard set does not have
    assert (changed["family"], changed["technique"]) == ("T2", "SE")
    assert TAXONOMIES["paper"].sequence_name(changed) == "T2-SE"
    assert changed["technique_evidence"] == changed["family_evidence"] == "override by me: seen"
    assert changed["coverage"] == "brain;liver" and changed["coverage_evidence"] == "override by me"
    assert (changed["contrast"], changed["contrast_confidence"]) == (None, 0.0)
    assert (changed["spacing_mm"], changed["spacing_mm_confidence"]) == (2.5, 1.0)
    assert changed["view"] == row["view"]
    TAXONOMIES["paper"].targets(changed)


def test_a_family_leaves_the_technique_and_other_series_stay(tmp_path):
    row = read_labels(T1).row()
    overrides = _read(
        tmp_path, HEAD + "k-1,sequence,DWI,me,b-value\nk,sequence,unknown,me,\nk,coverage,none,me,\n", "extended"
    )
    assert overrides.apply("other", row) == row
    second = overrides.apply("k-1", row)
    assert (second["family"], second["technique_evidence"]) == ("DWI", row["technique_evidence"])
    first = overrides.apply("k", row)
    assert (first["family"], first["family_confidence"], first["coverage"]) == (None, 0.0, "")


def test_a_key_of_no_series_is_named_with_its_line(tmp_path):
    overrides = _read(tmp_path, HEAD + "k,view,axial,me,\nx,view,axial,me,\nx,contrast,no,me,\n")
    overrides.refuse_unknown(["k", "x"])
    with pytest.raises(UsageError, match="line 3: no series has the key 'x'"):
        overrides.refuse_unknown(["k"])


def test_overrides_are_not_changed_by_use(tmp_path):
    overrides, row = _read(tmp_path, HEAD + "k,view,axial,me,\n"), read_labels(T1).row()
    before = dict(row)
    overrides.apply("k", row)
    assert row == before and replace(overrides) == overrides
