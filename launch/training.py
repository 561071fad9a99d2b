"""What pretrain and finetune share: start the processes, build loaders and engine, restore or initialise, train."""

import fcntl
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radnet import checkpoint, engine
from radnet.config import TrainConfig
from radnet.errors import OK, SAVED_ON_SIGNAL, UsageError
from radnet.loader import Loader
from radnet.samples import read_samples
from radnet.settings import settings
from radnet.task import Task, initial_model
from radnet.tracking import Silent, Tracker
from radnet.train import TrainState, train

SHARED_FOLDER_WAIT_S = 10  # network file systems show a new file late


def run_training(config: TrainConfig, task: Task) -> int:
    """One training run in this process (one rank of the job); returns the exit code.

    Order at start: 1 the newest valid checkpoint of this run; 2 model.init, weights only; 3 random weights.
    """
    for name, value in (("run", config.run), ("data.shards", config.data.shards)):
        if not value:
            raise UsageError(f"{name} is empty; give {name}=FOLDER")
    rank, world = engine.start(config.device)
    try:
        with engine.together():
            engine.accumulate_steps(config, world)
            loaders = [_loader(config, task, split, rank, world) for split in ("train", "validation")]
        with _only_job(Path(config.run), rank):
            return _run(config, task, loaders, rank, world)
    finally:
        engine.stop()


def _run(config: TrainConfig, task: Task, loaders: list[Loader], rank: int, world: int) -> int:
    state = TrainState()
    with engine.together():
        fixed = settings(config, task)
    # Rank 0 decides for all: another rank that saw another folder would go on from another step.
    resumed = engine.share(checkpoint.latest(Path(config.run)) if rank == 0 else None)
    with engine.together():
        if resumed:
            saved = checkpoint.read_state(resumed, world, fixed)
            state = TrainState(saved["step"], saved["epoch"], saved["consumed"])
        model, origin = initial_model(task, f"own run at step {state.step}" if resumed else None)
    driver = engine.Engine(model, config, world)
    if resumed:
        driver.load(resumed / "engine")
    tracker = Silent() if rank else Tracker(config, state.step)
    if rank == 0:
        train_set, validation_set = (len(loader.samples) for loader in loaders)
        print(f"starting from {origin}; {world} processes; samples: {train_set} train, {validation_set} validation")
    finished = train(driver, task, *loaders, state, config, tracker, fixed)
    tracker.close()
    if rank == 0:
        end = "finished" if finished else "stopped by a signal, saved"
        print(f"{end} at step {state.step}: {config.run}", flush=True)
    return OK if finished else SAVED_ON_SIGNAL


@contextmanager
def _only_job(run: Path, rank: int) -> Iterator[None]:
    """Hold the run folder for this job, and check that all ranks see the same one (by a token of rank 0)."""
    token = engine.share(secrets.token_hex(16))
    lock, mark = None, run / ".job"
    with engine.together():
        if rank == 0:
            try:
                run.mkdir(parents=True, exist_ok=True)
                lock = open(mark, "a+")  # closed when the job ends, which frees it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mark.write_text(token)
            except BlockingIOError:
                raise UsageError(
                    f"another job trains in {run}; wait for it, or give run=FOLDER another folder"
                ) from None
            except OSError as error:
                raise UsageError(
                    f"run={run} cannot be written: {error.strerror}; give run=FOLDER another folder"
                ) from None
    with engine.together():
        deadline = time.monotonic() + SHARED_FOLDER_WAIT_S
        while not mark.is_file() or mark.read_text() != token:
            if time.monotonic() > deadline:
                raise UsageError(f"{run} is not the same folder for rank {rank}; put the run on a disk all nodes share")
            time.sleep(0.2)
    try:
        yield
    finally:
        if lock:
            lock.close()


def _loader(config: TrainConfig, task: Task, split: str, rank: int, world: int) -> Loader:
    limit = config.max_train_samples if split == "train" else 0
    samples = read_samples(config.data, split, limit, masks=task.masks)
    return Loader(
        samples,
        config.data,
        micro_batch=config.engine.micro_batch,
        rank=rank,
        world=world,
        device=config.device,
        masks=task.masks,
    )
