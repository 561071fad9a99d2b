"""What pretrain and finetune share: start the processes, build loaders and engine, restore or initialise, train."""

from pathlib import Path

from radnet import checkpoint, engine
from radnet.config import TrainConfig
from radnet.errors import OK, SAVED_ON_SIGNAL, UsageError
from radnet.loader import Loader, read_samples
from radnet.task import Task, initial_model
from radnet.tracking import Silent, Tracker
from radnet.train import TrainState, train


def run_training(config: TrainConfig, task: Task) -> int:
    """One training run in this process (one rank of the job); returns the exit code.

    Order at start: 1 the newest valid checkpoint of this run; 2 model.init, weights only; 3 random weights.
    """
    for name, value in (("run", config.run), ("data.shards", config.data.shards)):
        if not value:
            raise UsageError(f"{name} is empty; give {name}=FOLDER")
    rank, world = engine.start(config.device)
    try:
        engine.accumulate_steps(config, world)
        loaders = [_loader(config, task, split, rank, world) for split in ("train", "validation")]
        model, origin = initial_model(task)
        driver = engine.Engine(model, config, world)
        state = TrainState()
        resumed = checkpoint.latest(Path(config.run))
        if resumed:
            saved = checkpoint.restore(resumed, driver)
            state = TrainState(saved["step"], saved["epoch"], saved["consumed"])
            origin = f"own run at step {state.step}"
        tracker = Silent() if rank else Tracker(config, state.step)
        if rank == 0:
            counts = ", ".join(
                f"{len(loader.samples)} {name}" for loader, name in zip(loaders, ("train", "validation"), strict=True)
            )
            print(f"starting from {origin}; {world} processes; samples: {counts}", flush=True)
        finished = train(driver, task, *loaders, state, config, tracker)
        tracker.close()
        if rank == 0:
            print(
                f"{'finished' if finished else 'stopped by a signal, saved'} at step {state.step}: {config.run}",
                flush=True,
            )
        return OK if finished else SAVED_ON_SIGNAL
    finally:
        engine.stop()


def _loader(config: TrainConfig, task: Task, split: str, rank: int, world: int) -> Loader:
    limit = config.max_train_samples if split == "train" else 0
    samples = read_samples(config.data.shards, split, config.data.taxonomy, limit)
    return Loader(
        samples,
        config.data,
        micro_batch=config.engine.micro_batch,
        rank=rank,
        world=world,
        device=config.device,
        masks=task.masks,
    )
