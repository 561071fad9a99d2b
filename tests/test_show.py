"""radnet show: in other programs a sample is what the reader read, and its own bytes alone are read."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import imagecodecs
import nibabel
import numpy as np
import pytest

from radnet import idx, store
from radnet.errors import OK, UsageError
from radnet.launch import show
from radnet.shards import stored as stored_samples
from radnet.shards.codec import quantise
from radnet.shards.dicom import read_volume
from radnet.shards.glyphs import ADVANCE, HEIGHT, draw
from radnet.shards.nifti import read_case
from radnet.shards.poster import SIDE_PIXELS, poster
from radnet.shards.tables import write_labels
from radnet.volume import Volume
from tests.conftest import ROOT
from tests.corpus import write_set
from tests.sets import phantom_rows, write_phantom_set

HEAVY = {"torch", "ray", "nvidia", "deepspeed", "webdataset", "matplotlib", "omegaconf"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return phantom_rows(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def made(rows, tmp_path_factory) -> Path:
    return write_phantom_set(tmp_path_factory.mktemp("show") / "set", rows, keep_free_text=False, keep_inventory=False)


@pytest.fixture
def copied(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "set")
    return tmp_path / "set"


def original(row) -> tuple[Volume, np.ndarray | None]:
    return (read_volume(row.files, stack=row.stack).volume, None) if row.kind == "dicom" else read_case(*row.files)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_holds_what_the_reader_read(made, rows, tmp_path, ending):
    """Read back by nibabel: voxels bit for bit, the place of every voxel as exactly as a file in float32 can say it."""
    for row in rows:
        out = tmp_path / f"{row.key}{ending}"
        assert show.main([str(made), row.key, "--out", str(out)]) == OK
        volume, mask = original(row)
        image = nibabel.load(out)
        assert image.get_data_dtype() == volume.voxels.dtype
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).transpose(2, 1, 0), volume.voxels)
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.voxels.shape])).reshape(3, -1)
        expected = LPS_TO_RAS @ volume.affine @ np.vstack([corners, np.ones(8)])
        np.testing.assert_allclose(image.affine @ np.vstack([corners[::-1], np.ones(8)]), expected, atol=1e-3)
        np.testing.assert_allclose(image.header.get_zooms(), volume.spacing_mm[::-1], rtol=1e-6)
        assert image.header["sform_code"] == 1 and image.header.get_xyzt_units()[0] == "mm"
        beside = tmp_path / f"{row.key}-mask{ending}"
        assert beside.exists() == (mask is not None)
        if mask is not None:
            found = nibabel.load(beside)
            np.testing.assert_array_equal(np.asanyarray(found.dataobj).transpose(2, 1, 0), mask)
            np.testing.assert_array_equal(found.affine, image.affine)


def test_voxels_that_are_no_whole_numbers_come_back_as_near_as_they_are_stored(tmp_path):
    voxels = np.random.default_rng(3).normal(0, 1, (4, 5, 6)).astype(np.float32)
    stored, scale, offset = quantise(Volume(voxels, (1, 1, 1), (0, 0, 0), np.eye(3)))
    real = stored_samples._real(stored, scale, offset)
    assert real.dtype == np.float32 and np.abs(real - voxels).max() <= scale / 2 * (1 + 1e-3)


def test_a_case_survives_the_way_through_nifti(made, rows, tmp_path):
    """What is written is a case that radnet reads as the same volume and mask."""
    case = next(row for row in rows if row.kind == "nifti")
    assert show.main([str(made), case.key, "--out", str(tmp_path / "a.nii.gz")]) == OK
    volume, mask = read_case(tmp_path / "a.nii.gz", tmp_path / "a-mask.nii.gz")
    expected, expected_mask = original(case)
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_array_equal(mask, expected_mask)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_a_picture_and_its_words(made, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    row = next(row for row in rows if row.header.get("Modality") == "CT")
    assert show.main([str(made), row.key[:9]]) == OK
    out = capsys.readouterr().out
    assert row.key in out and "Modality: CT" in out and "shown from -200 to 300" in out and f"{row.key}.png" in out
    picture = imagecodecs.png_decode((tmp_path / f"{row.key}.png").read_bytes())
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.max() == 255


def test_proportions_are_those_of_the_patient():
    """A sphere of 40 mm in voxels of 5 by 2 by 1 mm is round in all three planes."""
    shape, spacing_mm = (20, 50, 100), (5.0, 2.0, 1.0)
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing_mm - [47.5, 49, 49.5]
    voxels = (np.linalg.norm(centres, axis=-1) < 40).astype(np.int16) * 1000
    direction = np.eye(3)[:, ::-1]
    volume = Volume(voxels, spacing_mm, (0, 0, 0), direction)
    picture = imagecodecs.png_decode(poster(volume, None, (0, 1000), []))[..., 0]
    planes = picture[12 + 2 * HEIGHT : 12 + 2 * HEIGHT + SIDE_PIXELS]
    for number in range(3):
        plane = planes[:, 12 + number * (SIDE_PIXELS + 12) :][:, :SIDE_PIXELS] > 127
        tall, wide = np.ptp(np.flatnonzero(plane.any(axis=1))), np.ptp(np.flatnonzero(plane.any(axis=0)))
        assert tall == pytest.approx(0.8 * SIDE_PIXELS, abs=24) and wide == pytest.approx(0.8 * SIDE_PIXELS, abs=24)


def test_letters():
    dots = draw(["Aé", "→"])
    assert dots.shape == (2 * HEIGHT, 2 * ADVANCE)
    np.testing.assert_array_equal(draw(["é"]), draw(["e"]))
    np.testing.assert_array_equal(draw(["病"]), draw(["?"]))
    letters = [draw([chr(code)]).tobytes() for code in range(ord(" "), ord("~") + 1)]
    assert len(set(letters)) == len(letters)
    assert draw([]).shape == (0, 0)


def test_only_the_bytes_of_the_sample_are_read(copied, rows, tmp_path):
    """All other samples of its tar may be damaged."""
    label = store.read_labels(str(copied)).to_pylist()[1]
    path = copied / f"{label['shard']}.tar"
    members = idx.parse((copied / f"{label['shard']}.idx").read_bytes())[label["position"]]
    content, kept = path.read_bytes(), bytearray(path.stat().st_size)
    for one in members:
        kept[one.offset : one.offset + one.num_bytes] = content[one.offset : one.offset + one.num_bytes]
    path.write_bytes(kept)
    assert show.main([str(copied), label["key"], "--out", str(tmp_path / "a.png")]) == OK


@pytest.mark.parametrize("suffix", ["geometry.npy", "json", "vol.jhc", "mask.npy"])
def test_a_damaged_sample_is_not_shown(copied, tmp_path, suffix):
    label = store.read_labels(str(copied)).to_pylist()[-1]
    path = copied / f"{label['shard']}.tar"
    (member,) = (one for one in idx.parse((copied / f"{label['shard']}.idx").read_bytes())[0] if one.suffix == suffix)
    content = bytearray(path.read_bytes())
    content[member.offset + member.num_bytes - 1] ^= 1
    for changed in (content, content[: member.offset]):
        path.write_bytes(changed)
        with pytest.raises(
            UsageError, match=rf"{label['key']}\.\S+ in {label['shard']}\.tar is damaged; run radnet ver"
        ):
            show.main([str(copied), label["key"], "--out", str(tmp_path / "a.png")])
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    "content", [b"", b"v1.1 1\n", b"v1.2 1\n", b"v1.2 1\na b c d\n", b"v1.2 1\njson 1 2\n", b"\xff", b"v1.2 0\n"]
)
def test_a_damaged_idx_is_one_line(copied, content):
    label = store.read_labels(str(copied)).to_pylist()[-1]
    (copied / f"{label['shard']}.idx").write_bytes(content)
    with pytest.raises(UsageError, match="radnet verify") as caught:
        show.main([str(copied), label["key"]])
    assert "\n" not in str(caught.value)


def test_what_is_away_is_one_line(copied):
    label = store.read_labels(str(copied)).to_pylist()[-1]
    for suffix in ("tar", "idx"):
        (copied / f"{label['shard']}.{suffix}").unlink()
        with pytest.raises(UsageError, match=rf"{label['shard']}\.{suffix} is missing from"):
            show.main([str(copied), label["key"]])


def test_keys_that_are_none_or_several(made, rows, tmp_path):
    key = rows[0].key
    with pytest.raises(UsageError, match=f"no sample has the key '{key[:10]}zz'; the nearest is {key}"):
        show.main([str(made), key[:10] + "zz"])
    with pytest.raises(UsageError, match=r"no sample has the key 'zz'; labels\.parquet has all"):
        show.main([str(made), "zz"])
    with pytest.raises(UsageError, match=f"{len(rows)} samples have a key that begins with ''"):
        show.main([str(made), ""])


def test_a_key_that_begins_another_is_itself(tmp_path, rows):
    first = next(row for row in rows if row.kind == "dicom")
    made = write_phantom_set(tmp_path / "set", [first, rows[-1]], keep_free_text=False, keep_inventory=False)
    label = store.read_labels(str(made)).to_pylist()[0]
    write_labels(str(made / "labels.parquet"), [label, label | {"key": f"{label['key']}-1", "position": 1}])
    assert stored_samples.find(store.read_labels(str(made)), label["key"])["position"] == 0


def test_behind_a_url(made, rows, tmp_path):
    root = "memory://show/set"
    fsspec.filesystem("memory").put(str(made), root, recursive=True)
    key = rows[-1].key
    for path, out in ((str(made), tmp_path / "a.nii"), (root, tmp_path / "b.nii")):
        assert show.main([path, key, "--out", str(out)]) == OK
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()
    assert show.main([root, key, "--out", "memory://show/c.png"]) == OK and store.exists("memory://show/c.png")


def test_no_whole_tar_leaves_an_s3(made, rows, tmp_path, s3):
    root = f"{s3.bucket('bucket')}/set"
    client = fsspec.filesystem("s3")
    client.put(str(made), root, recursive=True)
    label = next(row for row in store.read_labels(root).to_pylist() if row["position"] == 1)
    tar = store.read_bytes(f"{root}/{label['shard']}.tar")
    client.pipe_file(f"{root}/{label['shard']}.tar", tar + bytes(200 << 20))
    s3.requests.clear()
    start = time.monotonic()
    assert show.main([root, label["key"], "--out", str(tmp_path / "a.png")]) == OK
    assert s3.requests["GET"] < 12 and time.monotonic() - start < 10


def test_places_that_cannot_be_written(made, rows, tmp_path):
    for out, said in (("a.jpg", "ends in none of"), ("nowhere/a.png", "does not exist")):
        with pytest.raises(UsageError, match=said):
            show.main([str(made), rows[0].key, "--out", str(tmp_path / out)])
    with pytest.raises(UsageError, match="not a folder"):
        show.main([str(tmp_path / "nowhere"), "k"])
    command = [sys.executable, str(ROOT / "launch" / "show.py"), str(made), rows[0].key, "--out", "/proc/a.png"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2 and result.stderr.startswith("radnet: ") and result.stderr.count("\n") == 1


def test_it_needs_none_of_the_heavy_libraries(made, rows, tmp_path):
    code = (
        "import sys; from radnet.launch import show; from pathlib import Path;"
        f"[show.main([{str(made)!r}, {rows[-1].key!r}, '--out', str(Path({str(tmp_path)!r}, 'a' + e))]) "
        "for e in show.ENDINGS];"
        f"print('heavy', *sorted({HEAVY} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.splitlines()[-1] == "heavy"


def test_provenance_without_a_header_is_shown_too(tmp_path):
    made = write_set(tmp_path / "set", {"train": 2})
    assert show.main([str(made), "key0001", "--out", str(tmp_path / "a.png")]) == OK
    assert json.loads((made / "index.json").read_text())["schema"] == 2
