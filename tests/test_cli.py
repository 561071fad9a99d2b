"""Every program alone: help, and a user's mistakes in one line with the promised exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radnet.launch.cli import VERBS
from tests.conftest import ROOT
from tests.jobs import free_port

RADNET = str(Path(sys.executable).with_name("radnet"))


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, timeout=300, check=False
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_in_both_forms(verb):
    script = ROOT / "launch" / (verb if verb == "bench" else f"{verb}.py")
    by_command, by_script = _run(RADNET, verb, "--help"), _run(sys.executable, str(script), "--help")
    assert by_command.returncode == by_script.returncode == 0, by_script.stderr
    assert by_command.stdout == by_script.stdout and f"radnet {verb}" in by_command.stdout


def _refused(result: subprocess.CompletedProcess, *words: str) -> None:
    lines = [line for line in result.stderr.splitlines() if line.startswith("radnet: ")]
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr and len(lines) == 1, result.stderr
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("frobnicate",), ("frobnicate", "pretrain")),
        (("pretrain", "nowhere.yaml"), ("nowhere.yaml", "pretrain_demo")),
        (("pretrain", "pretrain_demo", "engine.zero=1"), ("engine.zero", "engine.zero_stage")),
        (("pretrain", "pretrain_demo"), ("run", "run=FOLDER")),
        (("pretrain", "pretrain_demo", "run=runs/x", "data.shards=/nowhere"), ("/nowhere", "not a folder")),
        (("finetune", "finetune_demo", "run=runs/x", "data.shards=/nowhere"), ("/nowhere", "not a folder")),
        (("evaluate", "/nowhere", "--shards", "/nowhere"), ("/nowhere",)),
        (("export", "/nowhere", "out"), ("/nowhere",)),
        (("report", "--shards", "/nowhere", "--run", "/nowhere"), ("/nowhere",)),
        (("demo", "--dicom", "/nowhere"), ("/nowhere",)),
        (("demo", "--dicom", "tests", "--out", "tests/demo"), ("lie in each other",)),
        (("demo", "--dicom", "tests", "--out", "."), ("lie in each other",)),
        (("pretrain", "pretrain_demo", "run=runs/x", "data.taxonomy=latin"), ("latin", "paper")),
        (("pretrain", "pretrain_demo", "run=runs/x", "data.shards=/nowhere/x"), ("/nowhere/x", "not a folder")),
        (("pretrain", "LICENSE"), ("LICENSE",)),
        (("phantom", "/proc/x"), ("/proc/x",)),
        (("phantom", "/"), ("empty folder",)),
        (("bench", "nothing"), ("nothing", "line")),
        (("verify", "/nowhere"), ("/nowhere",)),
        (("show", "/nowhere", "key"), ("/nowhere",)),
        (("relabel", "/nowhere"), ("/nowhere",)),
        (("relabel", "tests"), ("index.json", "radnet shard")),
        (("label", "/nowhere", "--out", "out"), ("/nowhere", "does not exist")),
        (("label", "tests", "--out", "/proc/x"), ("/proc/x",)),
        (("label", "tests", "--out", "tests/out"), ("lie in each other",)),
        (("label", "tests", "--out", "out", "--overrides", "nowhere.csv"), ("nowhere.csv",)),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, words):
    _refused(_run(RADNET, *arguments), *words)


def _shard_config(tmp_path, source: str) -> str:
    path = tmp_path / "shard.yaml"
    path.write_text(f"out: {tmp_path / 'out'}\nsources: [{{path: {source!r}}}]\nprivacy: {{key: public}}\n")
    return str(path)


def test_shard_refuses_missing_and_empty_archives(tmp_path):
    _refused(_run(RADNET, "shard", _shard_config(tmp_path, "/nowhere")), "/nowhere")
    (tmp_path / "empty").mkdir()
    _refused(_run(RADNET, "shard", _shard_config(tmp_path, str(tmp_path / "empty"))), "empty")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_when_one_was_asked_for(tmp_path):
    result = _run(RADNET, "pretrain", "pretrain_demo", f"run={tmp_path}", "data.shards=x", "device=cuda")
    _refused(result, "device=cuda", "device=cpu")


def test_a_mistake_under_the_launcher_is_one_line_too(tmp_path):
    deepspeed = str(Path(sys.executable).with_name("deepspeed"))
    command = (
        deepspeed,
        "--num_accelerators=2",
        f"--master_port={free_port()}",
        "launch/pretrain.py",
        "pretrain_demo",
        "steps=x",
    )
    result = _run(*command, DS_ACCELERATOR="cpu")
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("radnet: ")]
    assert result.returncode == 2 and len(lines) == 1 and "steps" in lines[0]


def test_argparse_mistakes_exit_2():
    assert _run(RADNET, "evaluate").returncode == 2
