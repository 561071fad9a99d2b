"""Exported weights: round trip, damage, and loading that refuses to guess."""

import json
import os
import re

import pytest
import torch

from radnet.errors import UsageError
from radnet.export import export, load, load_weights, read_weights
from radnet.nets import build_net

BACKBONE = {"backbone": "preact", "options": {"layers": [1, 1], "width": 2}}
CLASSES = {"sequence": 5, "view": 3, "contrast": 2, "coverage": 9, "spacing": 1}
LABEL = {"kind": "label", **BACKBONE, "classes": CLASSES, "hidden": 7}
SEGMENTATION = {"kind": "segmentation", **BACKBONE, "out_channels": 2, "width": 4}
CONFIG = {
    "architecture": LABEL,
    "input_shape": [8, 16, 16],
    "spacing_mm": None,
    "intensity": {"kind": "min-max", "levels": 256, "range": [0, 1]},
    "taxonomy": "paper",
    "corpus_fingerprint": "00ff",
    "metrics": {"sequence": 0.5},
}


@pytest.fixture
def exported(tmp_path):
    torch.manual_seed(1)
    model = build_net(LABEL).eval()
    model(torch.rand(2, 1, 8, 16, 16))
    export(tmp_path / "deep" / "weights", model.state_dict(), CONFIG, "# Card\n")
    return tmp_path / "deep" / "weights", model


def test_round_trip(exported):
    folder, model = exported
    loaded, config = load(folder)
    x = torch.rand(1, 1, 8, 16, 16)
    for name, output in model(x).items():
        assert torch.equal(output, loaded(x)[name])
    assert {key: config[key] for key in CONFIG} == CONFIG and not loaded.training
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert os.listdir(folder.parent) == ["weights"]
    assert (folder / "README.md").read_text() == "# Card\n"


def test_segmentation_round_trip(tmp_path):
    model = build_net(SEGMENTATION).eval()
    export(tmp_path / "seg", model.state_dict(), {**CONFIG, "architecture": SEGMENTATION}, "")
    x = torch.rand(1, 1, 9, 17, 16)
    assert torch.equal(load(tmp_path / "seg")[0](x), model(x))


def test_export_replaces_an_export_whole_and_is_reproducible(exported):
    folder, model = exported
    first = (folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes()
    export(folder, model.state_dict(), CONFIG, "# New\n")
    assert first == ((folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes())
    assert (folder / "README.md").read_text() == "# New\n" and os.listdir(folder.parent) == ["weights"]


def test_a_failed_export_leaves_the_old_one(exported):
    """The card, written last, holds a lone surrogate that cannot be encoded."""
    folder, model = exported
    with pytest.raises(UnicodeEncodeError):
        export(folder, model.state_dict(), {**CONFIG, "metrics": {}}, "# \ud800")
    assert os.listdir(folder.parent) == ["weights"]
    assert load(folder)[1]["metrics"] == {"sequence": 0.5}


def test_export_refuses_a_foreign_folder_and_an_incomplete_config(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="not an earlier export"):
        export(tmp_path / "photos", {}, CONFIG, "")
    with pytest.raises(UsageError, match="lacks intensity"):
        export(tmp_path / "new", {}, {k: v for k, v in CONFIG.items() if k != "intensity"}, "")
    assert os.listdir(tmp_path) == ["photos"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "weights missing": ("model.safetensors", lambda path: path.unlink()),
    "weights truncated": ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:100])),
    "weights flipped": ("model.safetensors", flip),
    "config missing": ("config.json", lambda path: path.unlink()),
    "config not JSON": ("config.json", lambda path: path.write_text("{")),
    "config not text": ("config.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "config a list": ("config.json", lambda path: path.write_text("[]")),
    "config without architecture": ("config.json", lambda path: path.write_text(json.dumps({"taxonomy": "paper"}))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_clear_error(exported, damage):
    folder, _ = exported
    name, harm = DAMAGE[damage]
    harm(folder / name)
    with pytest.raises(UsageError) as caught:
        load(folder)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="nowhere.*expected a folder written by export"):
        load(tmp_path / "nowhere")


def test_another_architecture_lists_both_sides(exported):
    folder, _ = exported
    config = json.loads((folder / "config.json").read_text())
    config["architecture"]["hidden"] = None
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=re.escape("-heads.heads.sequence.weight [5, 16] against [5, 7]")) as caught:
        load(folder)
    assert "+heads.dense.weight" in str(caught.value) and "\n" not in str(caught.value)


def test_transfer_to_segmentation_takes_the_backbone_and_says_what_is_new(exported):
    folder, model = exported
    net, state = build_net(SEGMENTATION), read_weights(folder)
    with pytest.raises(UsageError, match=r"-decoder.* and \d+ more.*\+heads"):
        load_weights(net, state)
    with pytest.raises(UsageError, match=r"\+heads"):
        load_weights(net, state, allow_missing=[r"decoder\..*"])
    fresh = load_weights(net, state, allow_missing=[r"decoder\..*"], allow_unused=[r"heads\..*"])
    assert fresh == [key for key in net.state_dict() if key.startswith("decoder.")]
    for key, tensor in model.backbone.state_dict().items():
        assert torch.equal(net.backbone.state_dict()[key], tensor)


def test_loading_nothing_is_an_error_however_much_is_allowed(exported):
    _, model = exported
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    with pytest.raises(UsageError, match=", 0 fit"):
        load_weights(build_net(LABEL), state, allow_missing=[".*"], allow_unused=[".*"])


def test_patterns_match_whole_keys(exported):
    _, model = exported
    state = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("heads.dense")}
    with pytest.raises(UsageError, match="-heads.dense.weight"):
        load_weights(build_net(LABEL), state, allow_missing=["heads", "dense.*"])


def test_a_shape_mismatch_needs_both_sides_allowed(exported):
    _, model = exported
    other = build_net({**LABEL, "classes": {**CLASSES, "view": 4}})
    before = other.heads.heads["view"].weight.clone()
    with pytest.raises(UsageError, match=re.escape("view.weight [4, 7] against [3, 7]")):
        load_weights(other, model.state_dict(), allow_unused=[r"heads\.heads\.view\..*"])
    view = [r"heads\.heads\.view\..*"]
    fresh = load_weights(other, model.state_dict(), allow_missing=view, allow_unused=view)
    assert fresh == ["heads.heads.view.weight", "heads.heads.view.bias"]
    assert torch.equal(other.heads.heads["view"].weight, before)
