"""One series into a sample, one job into a shard, without Ray: killers untouched, files lost, axes averaged."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radnet.shards.dicom import read_header
from radnet.shards.fetch import fetched
from radnet.shards.inventory import Row, list_files, pack
from radnet.shards.ledger import Code, Status
from radnet.shards.nifti import list_cases, read_case
from radnet.shards.phantom import write_archive, write_cases
from radnet.shards.privacy import load_key
from radnet.shards.sample import BuildTask, Recipe, build_shard, outcome
from radnet.shards.write import Outcome, read_sidecar
from tests.series import grouped

RECIPE = Recipe("npy", 2, 10**9, 50.0, None, False)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    """The volumes of one phantom patient."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "in", folder / "truth", num_patients=1, seed=1, write_masks=False)
    records = [read_header(file) for file in list_files(str(folder / "in"))]
    found = grouped(records, load_key("public"), "phantom", "CC0")
    return [row for row in found if row.code == Code.OK]


@pytest.fixture(scope="module")
def case_row(tmp_path_factory) -> Row:
    folder = tmp_path_factory.mktemp("cases")
    write_cases(folder, num_cases=1, seed=1)
    case = list_cases(folder)[0]
    files = [str(case.image), str(case.mask)]
    stamps = [[os.stat(file).st_size, os.stat(file).st_mtime_ns] for file in files]
    return Row("k", "t", "p", "nifti", "liver", "", files, stamps)


def _outcome(row: Row, recipe: Recipe, split: str) -> Outcome:
    return outcome(row, fetched(row.files, row.stamps), recipe, split)


def test_series_that_kill_workers_are_recorded_and_not_touched(rows, tmp_path):
    killer = replace(
        rows[0], series_key="killer", files=["/nowhere"], stamps=[[0, 0]]
    )  # would raise if it were touched
    entries = [pack(row) for row in (rows[0], killer, rows[1])]
    task = BuildTask("train-000000", entries, "train", str(tmp_path / "train-000000"), "m", RECIPE)
    built = build_shard(task, frozenset({1}))
    codes = [row.code for row in read_sidecar(task.stem).ledger]
    assert codes == [Code.OK, Code.DECODER_CRASH, Code.OK]
    assert built.codes == {Code.OK: 2, Code.DECODER_CRASH: 1}


def test_a_source_that_is_away_stops_the_worker_and_fails_no_series(rows):
    with pytest.raises(FileNotFoundError):
        _outcome(replace(rows[0], files=[file + ".gone" for file in rows[0].files]), RECIPE, "train")


@pytest.mark.parametrize("moment", [0, 1])
def test_a_file_replaced_after_the_inventory_fails_its_series(rows, moment):
    stamps = [list(stamp) for stamp in rows[0].stamps]
    stamps[3][moment] += 1
    changed = _outcome(replace(rows[0], stamps=stamps), RECIPE, "train")
    assert changed.sample is None and changed.ledger.code == Code.CHANGED and changed.ledger.status == Status.FAILED
    assert not any(Path(file).name in changed.ledger.detail for file in rows[0].files)


def test_a_case_obeys_the_limits_of_the_recipe(case_row):
    for limit, code in [
        ({"min_slices": 10**4}, Code.TOO_FEW_SLICES),
        ({"max_voxels": 9}, Code.TOO_LARGE),
        ({"max_spacing_mm": 0.1}, Code.SPACING_TOO_LARGE),
    ]:
        assert _outcome(case_row, replace(RECIPE, **limit), "train").ledger.code == code


def test_what_lies_in_two_sources_says_so_in_ledger_and_provenance(rows):
    made = _outcome(replace(rows[0], detail="its files lie in 2 sources"), RECIPE, "train")
    assert made.ledger.detail == "its files lie in 2 sources"
    assert "its files lie in 2 sources" in json.loads(made.sample.members["json"])["notes"]


def test_free_text_stays_out_unless_it_is_kept(rows):
    kept, dropped = (
        json.loads(_outcome(rows[0], replace(RECIPE, keep_free_text=keep), "train").sample.members["json"])["header"]
        for keep in (True, False)
    )
    assert "SeriesDescription" in kept and "SeriesDescription" not in dropped
    assert dropped.items() <= kept.items() and "Modality" in dropped


def test_finer_axes_are_averaged_and_the_corner_stays(case_row):
    volume, mask = read_case(*case_row.files)
    finest = (volume.spacing_mm[0] / 2, volume.spacing_mm[1] * 2, volume.spacing_mm[2] * 2)
    coarse = _outcome(case_row, replace(RECIPE, finest_mm=finest), "train").sample
    depth, height, width = volume.voxels.shape
    voxels = coarse.members["vol.npy"]
    assert voxels.shape == (depth, height // 2, width // 2) and voxels.dtype == np.int16
    blocks = volume.voxels.reshape(depth, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    assert np.abs(voxels - blocks).max() <= 0.51
    geometry = coarse.members["geometry.npy"]
    np.testing.assert_allclose(geometry[3:6], (volume.spacing_mm[0], *finest[1:]))
    middle = volume.affine @ [0, 0.5, 0.5, 1]  # the first new voxel covers the first two along H and along W
    np.testing.assert_allclose(geometry[6:9], middle[:3], atol=1e-6)
    assert (coarse.members["mask.npy"] == 1).sum() == pytest.approx((mask == 1).sum() / 4, rel=0.2)
