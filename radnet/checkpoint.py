"""Run state on disk: a folder is a checkpoint only when its manifest is there and every file has the hash it lists.

runs/NAME/step_000500/{engine/, weights/, state.json, manifest.json}: `engine` is DeepSpeed's state for going on,
`weights` is what other people load (radnet.export), `state.json` is the loop's own.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from radnet import store
from radnet.engine import Engine
from radnet.errors import UsageError


def save(
    run: Path, engine: Engine, state: dict[str, Any], parts: Mapping[str, Callable[[Path], None]], *, keep_last: int
) -> Path:
    """Write run/step_NNNNNN in one rename; called by all ranks. Returns its path.

    state: plain JSON values with `step`. parts: name → what writes the file or folder of that name, given its path;
    called on rank 0 only.
    """
    final = run / f"step_{state['step']:06d}"
    temporary = final.with_name(final.name + ".tmp")
    if engine.rank == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    engine.barrier()
    engine.save(temporary / "engine")
    engine.barrier()
    if engine.rank == 0:
        for name, write in parts.items():
            write(temporary / name)
        (temporary / "state.json").write_text(json.dumps(state | {"world": engine.world}, indent=1))
        _seal(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        store.sync(run)
        older = [folder for folder in _steps(run) if _number(folder) < state["step"]]
        for old in older[: len(older) - (keep_last - 1)]:
            shutil.rmtree(old)
    engine.barrier()
    return final


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _steps(run: Path) -> list[Path]:
    """Folders named as checkpoints, in order of step."""
    return sorted((path for path in run.glob("step_*") if path.name[5:].isdecimal()), key=_number)


def _seal(folder: Path) -> None:
    """Hash and fsync every file below folder and write manifest.json last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {str(path.relative_to(folder)): store.sha256(str(path)) for path in files}
    (folder / "manifest.json").write_text(json.dumps({"files": manifest}, indent=1))
    for path in [*folder.rglob("*"), folder]:
        store.sync(path)


def problem(folder: Path) -> str | None:
    """Why a folder is not a valid checkpoint, or None when it is one."""
    try:
        files = json.loads((folder / "manifest.json").read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "manifest.json is missing or unreadable"
    for name, digest in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if store.sha256(str(folder / name)) != digest:
            return f"{name} does not have the hash in manifest.json"
    return None


def latest(run: Path) -> Path | None:
    """The newest valid checkpoint of a run, or None; damaged ones are named on the way and passed over."""
    for folder in reversed(_steps(run)):
        why = problem(folder)
        if why is None:
            return folder
        print(f"radnet: passing over {folder}: {why}", flush=True)
    return None


def read_state(folder: Path, world: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The loop's state of a checkpoint, if this job may go on from it.

    settings: what must not change between the jobs of a run (see `radnet.settings`). Raises UsageError, naming what
    differs, when they differ, when another number of processes saved it, or when the folder is not seen from here.
    """
    begin = f"begin a new run with model.init={folder / 'weights'}"
    try:
        state = json.loads((folder / "state.json").read_text())
    except OSError:
        raise UsageError(
            f"{folder} is not seen by every process; the run folder must be on a disk they share"
        ) from None
    if state["world"] != world:
        raise UsageError(
            f"{folder} was saved by {state['world']} processes and this job has {world}; "
            f"start it with {state['world']}, or {begin}"
        )
    for name, value in settings.items():
        if state["settings"].get(name) != value:
            saved = state["settings"].get(name)
            raise UsageError(
                f"{folder} was saved with {name}={saved} and this job has {name}={value}; keep it, or {begin}"
            )
    return state


def weights(path: str) -> Path:
    """The weights folder of a run folder, a checkpoint or a weights folder itself; UsageError when there is none."""
    folder = Path(path)
    if (folder / "model.safetensors").is_file():
        return folder
    if (folder / "weights").is_dir():
        return folder / "weights"
    newest = latest(folder) if folder.is_dir() else None
    if newest is None:
        raise UsageError(f"{path!r} is neither a run with a checkpoint nor a folder with model.safetensors")
    return newest / "weights"
