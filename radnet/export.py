"""Weights for other people: a folder with model.safetensors, config.json and README.md; nothing in it is a pickle."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from radnet import store
from radnet.errors import UsageError
from radnet.nets import LabelNet, SegmentationNet, build_net

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FIELDS = ("architecture", "input_shape", "spacing_mm", "intensity", "taxonomy", "corpus_fingerprint", "metrics")
_NUM_LISTED = 6


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap_in(written: Path, folder: Path) -> None:
    """Rename the finished folder to its name; an older export of that name is moved aside first, then removed."""
    if folder.exists():
        aside = written.with_suffix(".old")
        os.rename(folder, aside)
        os.rename(written, folder)
        shutil.rmtree(aside)
    else:
        os.rename(written, folder)
    store.sync(folder.parent)


def export(folder: str | os.PathLike[str], state_dict: Mapping[str, Tensor], config: dict[str, Any], card: str) -> None:
    """Write weights, config and model card; the folder appears whole or not at all.

    config: JSON values with every field of `FIELDS`: architecture (see `nets.build_net`), input_shape [D,H,W],
    spacing_mm (z,y,x, or null where volumes are resized instead), intensity (how voxels become the network's input),
    taxonomy, corpus_fingerprint, metrics. A field weights_sha256 is added: a flipped byte in a tensor loads silently.
    card: the README in Markdown. An earlier export in the same place is replaced.

    Raises UsageError when a field is missing or the folder exists and is not an export.
    """
    folder = Path(folder)
    missing = [field for field in FIELDS if field not in config]
    if missing:
        raise UsageError(f"export config lacks {', '.join(missing)}")
    if folder.exists() and not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} exists and is not an earlier export; choose another folder")
    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in state_dict.items()})
    stamped = {**config, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    text = json.dumps(stamped, indent=2, allow_nan=False) + "\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        written.chmod(0o755)  # mkdtemp makes 700, but an export is to be shared
        _write_synced(written / WEIGHTS, weights)
        _write_synced(written / CONFIG, text.encode())
        _write_synced(written / CARD, card.encode())
        store.sync(written)
        _swap_in(written, folder)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """config.json of an export. Raises UsageError when it is missing, is not JSON, or lacks a field."""
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); expected a folder written by export") from error
    lacking = [field for field in (*FIELDS, "weights_sha256") if not isinstance(config, dict) or field not in config]
    if lacking or not isinstance(config["architecture"], dict):
        raise UsageError(f"{path} lacks {', '.join(lacking) or 'a usable architecture'}; it was not written by export")
    return config


def read_weights(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of an export, on the CPU. Raises UsageError when they are missing or are not the bytes exported."""
    path = Path(folder) / WEIGHTS
    expected = read_config(folder)["weights_sha256"]
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise UsageError(f"{path} has sha256 {found[:12]}…, {CONFIG} says {expected[:12]}…; copy the folder again")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read ({error}); copy the folder again") from error


def load(folder: str | os.PathLike[str]) -> tuple[LabelNet | SegmentationNet, dict[str, Any]]:
    """The network of an export with its weights, in eval mode on the CPU, and its config.

    Raises UsageError when a file is missing, damaged, or does not fit the architecture it declares.
    """
    config = read_config(folder)
    model = build_net(config["architecture"])
    load_weights(model, read_weights(folder))
    return model.eval(), config


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _listed(mark: str, keys: Sequence[str]) -> str:
    rest = f" and {len(keys) - _NUM_LISTED} more" if len(keys) > _NUM_LISTED else ""
    return ", ".join(f"{mark}{key}" for key in keys[:_NUM_LISTED]) + rest


def load_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
) -> list[str]:
    """Copy weights into a model and refuse to guess; returns the model's keys that kept their initial values.

    state: tensors by state-dict key. allow_missing: regular expressions (whole key) for what the model has and the
    state lacks. allow_unused: the same for what the state has and the model lacks. A key on both sides with different
    shapes counts as missing and as unused, so both must allow it.

    Raises UsageError listing both sides when a key is not explained, or when nothing would be loaded.
    """
    own = model.state_dict()
    fitting = {key for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    missing = [key for key in own if key not in fitting]
    unused = [key for key in state if key not in fitting]
    shapes = {key: f"{key} {list(own[key].shape)} against {list(state[key].shape)}" for key in missing if key in state}
    lacking = [shapes.get(key, key) for key in missing if not _matches(key, allow_missing)]
    unexplained = [key for key in unused if not _matches(key, allow_unused)]
    if lacking or unexplained or not fitting:
        raise UsageError(
            f"weights do not fit: {len(lacking)} keys of the model have none ({_listed('-', lacking)}), "
            f"{len(unexplained)} are not the model's ({_listed('+', unexplained)}), {len(fitting)} fit; "
            "use the architecture they were saved with or name what may differ"
        )
    with torch.no_grad():
        for key in fitting:
            own[key].copy_(state[key])
    return missing
