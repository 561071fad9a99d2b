"""Configuration: what is merged, and what is refused in one line."""

import pytest

from radnet.config import TrainConfig, describe, find, load
from radnet.errors import UsageError


def test_defaults_yaml_and_command_line_are_merged_in_this_order(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("steps: 7\nengine: {global_batch: 32}\nmodel: {options: {width: 8}}\n")
    config = load(TrainConfig, str(path), ["steps=9", "model.options.norm=group"])
    assert (config.steps, config.engine.global_batch, config.engine.micro_batch) == (9, 32, 4)
    assert config.model.options == {"width": 8, "norm": "group"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["engine.globl_batch=3"], "did you mean 'engine.global_batch'"),
        (["nonsense=3"], "unknown key 'nonsense'"),
        (["steps=abc"], "steps"),
        (["data.grid.shape=[1,2"], "not YAML"),
        (["--steps=1"], "expected key=value"),
        (["+steps=1"], "expected key=value"),
        (["steps"], "expected key=value"),
        (["data.intensity=[1,99]"], "data.intensity"),
        (["data.grid.shape=[1,2]"], "data.grid.shape"),
        (["engine.precision=fp8"], "engine.precision"),
        (["engine.zero_stage=7"], "engine.zero_stage"),
        (["tracking.wandb=maybe"], "tracking.wandb"),
        (["label_weights.sequense=1"], "label_weights"),
        (["optimizer.learning_rate=-1"], "optimizer.learning_rate"),
        (["steps=0"], "steps"),
        (["engine.global_batch=0"], "engine.global_batch"),
        (["model.hidden=-5"], "model.hidden"),
        (["model.options.in_channels=3"], "in_channels"),
        (["max_train_samples=-13"], "max_train_samples"),
        (["tracking.project=${oc.env:HOME}"], "plain values"),
    ],
)
def test_mistakes_are_one_line(overrides, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(TrainConfig, None, overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_config_names_radnets_own():
    with pytest.raises(UsageError, match="pretrain_demo"):
        find("nowhere.yaml")
    assert find("pretrain_demo").samefile(find("configs/pretrain_demo.yaml"))


@pytest.mark.parametrize("name", ["pretrain_demo", "finetune_demo", "pretrain_paper"])
def test_own_configs_load_and_open_with_purpose_command_cost_and_result(name):
    load(TrainConfig, name)
    head = find(name).read_text().splitlines()[:4]
    assert [line.split(":")[0] for line in head] == ["# Purpose", "# Command", "# Cost", "# Expected"]


def test_every_key_has_a_help_line():
    assert all(text for _, _, text in describe(TrainConfig))
