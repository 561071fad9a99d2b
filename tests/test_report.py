"""The report: one page from small files of the real formats, whole, self-contained, and safe whatever the data say."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from radnet import report, store
from radnet.errors import UsageError
from radnet.launch.report import choose, main
from radnet.page import table
from radnet.shards import codec
from radnet.shards.ledger import Code, LedgerRow
from radnet.shards.write import Outcome, Sample, write_shard

HOSTILE = '<script>alert("x")</script>&'
FAMILIES = ["CT", "T1", "T2", "T2-FLAIR", None]
VIEWS = ["axial", "coronal", "sagittal"]
SPLITS = ["train", "train", "train", "validation", "test"]
SPACING_MM = (5.0, 1.0, 2.0)


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    """[D,H,W] bool: a ball in the middle, radius as a share of each axis."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(axis**2 for axis in axes) < radius**2


def write_sample(number: int, codec_name: str) -> Sample:
    """A sample whose middle slice holds a disc of 100·number over -1000."""
    shape = (5 + number % 3, 40, 30)
    noise = np.random.default_rng(number).integers(-30, 30, shape)
    voxels = np.where(ball(shape, 0.8), 100 * number, -1000).astype(np.int16) + noise.astype(np.int16)
    geometry = np.concatenate([shape, SPACING_MM, np.zeros(3), np.eye(3).ravel(), [1, 0], codec.percentiles(voxels)])
    family = FAMILIES[number % len(FAMILIES)]
    label = {
        "patient_key": "p" * 20,
        "split": SPLITS[number % len(SPLITS)],
        "family": family,
        "technique": "SE" if family in ("T1", "T2") else None,
        "view": VIEWS[number % 3],
        "contrast": "yes" if number % 2 else "no",
        "coverage": ["brain", "lung;liver", "", None][number % 4],
        "spacing_mm": 5.0,
    }
    members = {"geometry.npy": codec.npy(geometry), codec.SUFFIX[codec_name]: codec.encode(voxels, codec_name)}
    return Sample(f"{number:020x}", members | {"json": b"{}"}, label)


def write_shards(folder: Path, codec_name: str = "npy", num_samples: int = 30) -> Path:
    """A finished shard set of one shard, with its tables."""
    folder.mkdir()
    refusals = [
        LedgerRow("f" * 20, "p" * 20, Code.LOCALIZER, "", 3, "CT"),
        LedgerRow("e" * 20, "p" * 20, Code.MISSING_SLICE, f"gap of 10.0 mm, expected 5.0 mm {HOSTILE}", 40, "CT"),
    ]
    samples = [write_sample(number, codec_name) for number in range(num_samples)]
    kept = [LedgerRow(sample.key, "p" * 20, Code.OK, "", 5, "CT") for sample in samples]
    outcomes = [Outcome(row, sample) for row, sample in zip(kept, samples, strict=True)]
    sidecar = write_shard(str(folder / "train-000000"), outcomes, job="")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(sidecar.labels), folder / "labels.parquet")
    rows = [vars(row) | {"status": str(row.status), "code": str(row.code)} for row in kept + refusals]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "ledger.parquet")
    fingerprints = {"inventory": "a" * 64, "config": "b" * 64, "privacy_key": "public"}
    store.write_index(str(folder), store.Index(codec_name, {"train": [sidecar.info]}, fingerprints, {}))
    return folder


def write_run(folder: Path) -> Path:
    """metrics.jsonl of a short run, cut in the middle of its last line as a crash would."""
    folder.mkdir()
    lines = []
    for step in range(1, 101):
        parts = {
            name: 2.0 / (k + 1) * 0.97**step for k, name in enumerate(("sequence", "view", "contrast", "coverage"))
        }
        line = {f"train/loss/{name}": value for name, value in parts.items()}
        line |= {
            "step": step,
            "time_s": 1e9 + step,
            "train/loss/total": sum(parts.values()),
            "train/lr": 1e-3 * 0.99**step,
        }
        if step % 20 == 0:
            line |= {"val/accuracy/view": 0.4 + step / 250, "val/accuracy/sequence": 0.3 + step / 200}
            line |= {"val/mae_mm/spacing": float("nan") if step == 20 else 8 - step / 30}
        lines.append(json.dumps(line) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines) + '{"step": 101, "train/lo')
    return folder


def write_evaluation(path: Path) -> Path:
    """Table 1 as `radnet evaluate --out` writes it."""
    fields = ("label", "name", "n", "accuracy", "low", "high", "majority", "auc", "sensitivity", "mae_mm")
    rows = [
        ("sequence", "CT", 12, 0.97812345, None, None, None, 0.991, 1.0, None),
        ("sequence", HOSTILE, 0, None, None, None, None, float("nan"), None, None),
        ("sequence", "overall", 30, 0.9591, 0.91, 0.99, 0.4, None, None, None),
        ("spacing", "overall", 30, None, None, None, None, None, None, 3.14159),
    ]
    part = {"rows": [dict(zip(fields, row, strict=True)) for row in rows], "text": "…"}
    path.write_text(json.dumps({"split": "test", "num_samples": 30, "num_patients": 21, "header": part, "truth": part}))
    return path


def write_finetune(folder: Path, init: str, quality: float) -> Path:
    """result.json and overlay.npz of one fine-tuning run."""
    folder.mkdir()
    cases = [{"case": f"{k:020x}", "dice": quality - k / 50} for k in range(5)]
    curve = [{"step": step, "dice": quality * (1 - 0.98**step)} for step in range(20, 201, 20)]
    result = {"init": init, "dice_mean": float(np.mean([c["dice"] for c in cases])), "dice": cases, "curve": curve}
    (folder / "result.json").write_text(json.dumps(result))
    truth = np.stack([np.hypot(*np.mgrid[-1:1:96j, -1:1:96j]) < 0.15 * k for k in range(4)]).astype(np.uint8)
    image = np.clip(truth * 0.4 + 0.3 + np.random.default_rng(0).normal(0, 0.05, truth.shape), 0, 1)
    prediction = np.roll(truth, round(10 * (1 - quality)) + 2, axis=2)
    truth[3, 40:50, 40:50] = 2
    np.savez_compressed(folder / "overlay.npz", image=image.astype(np.float32), truth=truth, prediction=prediction)
    return folder


def write_all(folder: Path, codec_name: str = "npy") -> list[str]:
    """Every input, and the arguments that name them."""
    shards, run = write_shards(folder / "shards", codec_name), write_run(folder / "pretrain")
    finetunes = [write_finetune(folder / "ft-a", "pretrained", 0.9), write_finetune(folder / "ft-b", "random", 0.6)]
    evaluation = write_evaluation(folder / "evaluation.json")
    arguments = ["--shards", shards, "--run", run, "--evaluation", evaluation, "--finetune", *finetunes]
    return [str(argument) for argument in [*arguments, "--out", folder / "report.html"]]


class Page(HTMLParser):
    """Collects headings, table rows and pictures, and insists that every element is closed in order."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.images, self.rows, self.headings = [], set(), [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())


@pytest.mark.parametrize("codec_name", ["npy", "htj2k"])
def test_the_whole_page(tmp_path: Path, codec_name: str):
    assert main(write_all(tmp_path, codec_name)) == 0
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.headings == ["Labels", "Volumes", "Training", "Table 1", "Segmentation", "Ledger"]
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,)", text) and "url(" not in text
    # 5 labels, 12 tiles, 4 panels of metrics, 2 overlays, 1 curve; every picture has a text.
    assert len(page.images) == 5 + 12 + 4 + 2 + 1 and all(image["alt"] for image in page.images)
    assert ["family", "CT", "6", "0", "0", "6"] in page.rows
    assert ["coverage", "none", "5", "1", "1", "7"] in page.rows
    assert ["sequence", "CT", "12", "0.978", "–", "–", "–", "0.991", "1.000", "–"] in page.rows
    assert ["0" * 20, "0.900", "0.600"] in page.rows and ["mean", "0.860", "0.560"] in page.rows
    assert ["excluded", "localizer", "1", "a scout is not a volume; nothing to do"] in page.rows
    assert ["e" * 20, "failed", "missing_slice", f"gap of 10.0 mm, expected 5.0 mm {HOSTILE}"] in page.rows
    assert HOSTILE not in text and str(tmp_path) not in text


def test_sections_without_input_say_so(tmp_path: Path):
    shards, run = write_shards(tmp_path / "shards"), tmp_path / "run"
    run.mkdir()
    (shards / "ledger.parquet").unlink()
    finetune = write_finetune(tmp_path / "ft", "random", 0.5)
    (finetune / "overlay.npz").unlink()
    out = tmp_path / "report.html"
    assert main(["--shards", str(shards), "--run", str(run), "--out", str(out)]) == 0
    for sentence in ("has no metrics.jsonl", "No evaluation was given", "No fine-tuning run", "no ledger.parquet"):
        assert sentence in out.read_text()
    assert main(["--shards", str(shards), "--run", str(run), "--finetune", str(finetune), "--out", str(out)]) == 0
    assert "has no overlay.npz" in out.read_text()


def test_what_is_named_but_missing_or_damaged_is_one_line(tmp_path: Path):
    arguments = write_all(tmp_path)
    shards, run, finetune = tmp_path / "shards", tmp_path / "pretrain", tmp_path / "ft-a"

    def refused(match: str, given: list[str] = arguments) -> None:
        with pytest.raises(UsageError, match=match) as refusal:
            main(given)
        assert "\n" not in str(refusal.value)

    for position in range(len(arguments)):
        if position % 2 and position < 8:
            absent = [*arguments[:position], str(tmp_path / "absent"), *arguments[position + 1 :]]
            refused("is not a folder|cannot be read", absent)
    refused("its folder does not exist", [*arguments[:-1], str(tmp_path / "absent" / "report.html")])
    (tmp_path / "evaluation.json").write_text("{")
    refused("is not JSON")
    (tmp_path / "evaluation.json").write_text("[]")
    refused("holds no object")
    write_evaluation(tmp_path / "evaluation.json")
    (finetune / "overlay.npz").write_bytes(b"PK")
    refused("overlay.npz is damaged")
    (finetune / "result.json").write_text('{"init": "random"}')
    refused("has no curve, dice, dice_mean")
    (finetune / "result.json").unlink()
    refused("result.json cannot be read")
    (run / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    write_finetune(tmp_path / "ft-c", "random", 0.5).rename(tmp_path / "new")
    refused("metrics.jsonl is damaged", [*arguments[:7], str(tmp_path / "new"), *arguments[9:]])
    (run / "metrics.jsonl").unlink()
    (shards / "train-000000.tar").write_bytes(b"")
    refused("radnet verify", [*arguments[:7], str(tmp_path / "new"), *arguments[9:]])


def test_the_montage_takes_turns():
    rows = [{"key": f"{k:03}", "family": "CT", "view": "axial"} for k in range(50)]
    rows += [{"key": "900", "family": "T1", "view": "axial"}, {"key": "901", "family": None, "view": "coronal"}]
    chosen = choose(rows, 6)
    assert len(chosen) == 6 and {"900", "901", "000"} <= {row["key"] for row in chosen}
    assert chosen == choose(rows[::-1], 6)
    many = [{"key": f"{k:03}", "family": f"F{k % 4}", "view": VIEWS[k % 3], "contrast": "no"} for k in range(60)]
    chosen = choose(many, 4)
    assert [row["family"] for row in chosen] == ["F0", "F1", "F2", "F3"]


def test_sections_of_nothing():
    for text in (report.labels_section([]), report.montage_section([]), report.curves_section([])):
        assert 'class="missing"' in text
    assert 'class="missing"' in report.table1_section({"header": {"rows": []}, "split": "test"})
    assert 'class="missing"' in report.ledger_section([])


def test_masks_that_are_empty_or_full_have_no_outline():
    empty, full = np.zeros((2, 8, 8), np.uint8), np.ones((2, 8, 8), np.uint8)
    result = {"init": "random", "dice_mean": 0.0, "dice": [{"case": "a", "dice": 0.0}], "curve": []}
    overlay = {"image": np.zeros((2, 8, 8), np.float32), "truth": empty, "prediction": full}
    runs = [report.FinetuneRun(name, result, overlay) for name in "ab"]
    text = report.finetune_section(runs)
    assert text.count("<img") == 2 and "random weights (1)" in text and "random weights (2)" in text


def test_many_refusals_are_cut_with_a_count():
    row = {"status": "failed", "code": "truncated", "detail": "", "remedy": "fetch it again"}
    rows = [row | {"series_key": f"{k:020}"} for k in range(report.MAX_REFUSALS + 7)]
    assert "7 more are in ledger.parquet" in report.ledger_section(rows)


def test_a_table_drops_empty_columns_and_marks_holes():
    page = Page(table([{"a": 1, "b": None, "c": "x"}, {"a": None, "b": float("nan"), "d_mm": 0.5}]))
    assert page.rows == [["a", "c", "d (mm)"], ["1", "x", "–"], ["–", "–", "0.500"]]
