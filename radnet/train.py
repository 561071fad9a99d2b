"""The loop: one step, and everything between two steps. Pretraining and fine-tuning are the same loop."""

import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radnet import card, checkpoint, export
from radnet.config import TrainConfig
from radnet.engine import Engine
from radnet.errors import UsageError
from radnet.loader import Batch, Loader
from radnet.optimizer import learning_rate
from radnet.perf import speed
from radnet.task import Task, predict
from radnet.tracking import Silent, Tracker


@dataclass
class TrainState:
    """Where a run is: optimizer steps done, the epoch, and positions of its list consumed by all ranks together."""

    step: int = 0
    epoch: int = 0
    consumed: int = 0


class NonFinite(UsageError):
    """A loss, gradient or weight is nan or infinite; the optimizer has not moved, or nothing was saved."""


class Interrupt:
    """Within the block SIGTERM and SIGUSR1 are noted: save at the end of this step and leave with exit code 75."""

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        self.seen = True


def stream(loader: Loader, state: TrainState, config: TrainConfig) -> Iterator[Batch]:
    """Micro-batches of this rank from the state's position on, epoch after epoch, without end."""
    epoch, consumed = state.epoch, state.consumed
    while True:
        yield from loader.train_epoch(
            seed=config.seed, epoch=epoch, global_batch=config.engine.global_batch, consumed=consumed
        )
        epoch, consumed = epoch + 1, 0


def advance(state: TrainState, loader: Loader, config: TrainConfig) -> None:
    """Count one step: its positions are consumed, and an epoch ends where its list does."""
    state.step += 1
    state.consumed += config.engine.global_batch
    if state.consumed >= loader.epoch_length(config.engine.global_batch):
        state.epoch, state.consumed = state.epoch + 1, 0


def train_step(
    engine: Engine, task: Task, micro_batches: list[Batch], config: TrainConfig, step: int
) -> dict[str, float]:
    """One optimizer step over this rank's micro-batches; returns the losses of the whole global batch.

    The loss is normalised by the known labels of all ranks and micro-batches, so that it does not depend on how the
    global batch was cut. Raises NonFinite on every rank before the optimizer moves, naming step and sample keys.
    """
    engine.module.train()
    known = engine.all_sum(sum(task.known(batch) for batch in micro_batches))
    sums: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(micro_batches, 1):
        total, parts = task.loss(engine.forward(batch.volume.to(engine.device)), _to(batch, engine.device), known)
        engine.backward(total)
        for name, value in (parts | {"total": total}).items():
            sums[name] = sums.get(name, 0) + value.detach()
        if number == len(micro_batches):
            _check_finite(engine, sums["total"], micro_batches, step)
        engine.step(learning_rate(config, step))
    names = sorted(sums)
    totals = engine.all_sum(torch.stack([sums[name].reshape(()) for name in names]))
    return {f"train/loss/{name}": float(value) for name, value in zip(names, totals, strict=True)}


def _check_finite(engine: Engine, total: torch.Tensor, micro_batches: list[Batch], step: int) -> None:
    """Raise NonFinite on every rank, naming the samples of the ranks that saw it."""
    keys = [key for batch in micro_batches for key in batch.keys]
    finite = engine.gradients_finite()
    if finite and engine.all_sum((~torch.isfinite(total)).float()).item() == 0:
        return
    mine = np.array([] if torch.isfinite(total) else keys, dtype=str)
    named = engine.gather({"keys": mine})["keys"]
    what = f"loss is not finite at step {step}, samples {', '.join(named)}" if len(named) else ""
    raise NonFinite(
        f"the {what or f'gradient is not finite at step {step}'}; the optimizer has not moved; "
        "lower optimizer.learning_rate, or delete the newest checkpoint to go back further"
    )


def _to(batch: Batch, device: torch.device) -> Batch:
    mask = None if batch.mask is None else batch.mask.to(device)
    return replace(batch, target=batch.target.to(device), mask=mask, weight=batch.weight.to(device))


def evaluate(engine: Engine, task: Task, loader: Loader) -> dict[str, float]:
    """Metrics over every validation sample once, the same on every rank; averages norm statistics first."""
    engine.average_norm_statistics()
    scores = engine.gather(predict(task, engine.module, loader.evaluation()))
    order = scores["sample"].argsort()
    return task.summary({name: values[order] for name, values in scores.items()})


def train(
    engine: Engine,
    task: Task,
    loader: Loader,
    validation: Loader,
    state: TrainState,
    config: TrainConfig,
    tracker: Tracker | Silent,
    fixed: dict[str, Any],
) -> bool:
    """Train from the state to config.steps and save. Returns False when a signal ended it early, saved as well.

    fixed: the run's settings, kept in every checkpoint.
    """
    batches = stream(loader, state, config)
    metrics: dict[str, float] = {}
    with Interrupt() as interrupt:
        while state.step < config.steps:
            begun = time.monotonic()
            micro_batches = [next(batches) for _ in range(engine.accumulate)]
            waited = time.monotonic() - begun
            losses = train_step(engine, task, micro_batches, config, state.step)
            rate = learning_rate(config, state.step)
            advance(state, loader, config)
            tracker.log(state.step, losses | {"learning_rate": rate} | speed(config, time.monotonic() - begun, waited))
            stopping = bool(engine.all_sum(torch.tensor(float(interrupt.seen))).item())
            last = state.step == config.steps
            # A signal leaves seconds, so it saves at once; the card then carries the evaluation before.
            if not stopping and (last or state.step % config.evaluate_every == 0):
                scores = evaluate(engine, task, validation)
                metrics = {"step": state.step} | scores
                tracker.log(state.step, scores)
            if last or state.step % config.log_every == 0:
                tracker.progress(state.step, f"loss {losses['train/loss/total']:.3f}")
            if last or stopping or state.step % config.save_every == 0:
                save(engine, task, state, config, metrics, fixed)
            if stopping:
                break
    return state.step == config.steps


def save(
    engine: Engine, task: Task, state: TrainState, config: TrainConfig, metrics: dict[str, float], fixed: dict[str, Any]
) -> Path:
    """A checkpoint of this step, with weights that others can load; metrics: of the last evaluation, for the card.

    Raises NonFinite, and saves nothing, when a weight is not finite.
    """
    engine.average_norm_statistics()
    broken = [name for name, value in engine.module.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise NonFinite(f"{broken[0]} is not finite after step {state.step}; not saved; lower optimizer.learning_rate")

    def export_weights(folder: Path) -> None:
        contract, text = card.describe(task, config, metrics)
        export.export(folder, engine.module.state_dict(), contract, text)

    kept = asdict(state) | {"settings": fixed}
    return checkpoint.save(Path(config.run), engine, kept, {"weights": export_weights}, keep_last=config.keep_last)
