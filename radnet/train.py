"""The loop: one step, and everything between two steps. Pretraining and fine-tuning are the same loop."""

import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from radnet import card, checkpoint, export
from radnet.config import TrainConfig
from radnet.engine import Engine
from radnet.loader import Batch, Loader
from radnet.task import Task, predict
from radnet.tracking import Silent, Tracker


@dataclass
class TrainState:
    """Where a run is: optimizer steps done, the epoch, and positions of its list consumed by all ranks together."""

    step: int = 0
    epoch: int = 0
    consumed: int = 0


class NonFiniteLoss(RuntimeError):
    """The loss is nan or infinite; the optimizer has not moved."""


class Interrupt:
    """SIGTERM or SIGUSR1: save at the end of this step and leave with exit code 75."""

    def __init__(self) -> None:
        self.seen = False
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        self.seen = True


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then cosine to zero at config.steps; a pure function of the step."""
    peak, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(config.steps - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


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
    global batch was cut. Raises NonFiniteLoss on every rank before the optimizer moves, naming step and sample keys.
    """
    engine.module.train()
    known = engine.all_sum(sum(task.known(batch) for batch in micro_batches))
    sums: dict[str, torch.Tensor] = {}
    for batch in micro_batches:
        total, parts = task.loss(engine.forward(batch.volume.to(engine.device)), _to(batch, engine.device), known)
        _check_finite(engine, total, batch, step)
        engine.backward(total)
        for name, value in (parts | {"total": total}).items():
            sums[name] = sums.get(name, 0) + value.detach()
        engine.step(learning_rate(config, step))
    names = sorted(sums)
    totals = engine.all_sum(torch.stack([sums[name].reshape(()) for name in names]))
    return {f"train/loss/{name}": float(value) for name, value in zip(names, totals, strict=True)}


def _to(batch: Batch, device: torch.device) -> Batch:
    mask = None if batch.mask is None else batch.mask.to(device)
    return Batch(batch.volume, batch.target.to(device), mask, batch.weight.to(device), batch.sample, batch.keys)


def _check_finite(engine: Engine, total: torch.Tensor, batch: Batch, step: int) -> None:
    bad = ~torch.isfinite(total.detach()).reshape(1)
    if engine.all_sum(bad.float()).item():
        where = f"samples {', '.join(batch.keys)} of rank {engine.rank}" if bad.item() else "another rank's samples"
        raise NonFiniteLoss(f"the loss is not finite at step {step}: {where}; the optimizer has not moved")


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
) -> bool:
    """Train from the state to config.steps and save. Returns False when a signal ended it early, saved as well."""
    interrupt = Interrupt()
    batches = stream(loader, state, config)
    metrics: dict[str, float] = {}
    while state.step < config.steps:
        begun = time.monotonic()
        micro_batches = [next(batches) for _ in range(engine.accumulate)]
        waited = time.monotonic() - begun
        losses = train_step(engine, task, micro_batches, config, state.step)
        rate = learning_rate(config, state.step)
        advance(state, loader, config)
        tracker.log(state.step, losses | {"learning_rate": rate} | _speed(config, time.monotonic() - begun, waited))
        stopping = bool(engine.all_sum(torch.tensor(float(interrupt.seen))).item())
        last = state.step == config.steps or stopping
        if last or state.step % config.evaluate_every == 0:
            metrics = evaluate(engine, task, validation)
            tracker.log(state.step, metrics)
        if last or state.step % config.log_every == 0:
            tracker.progress(state.step, f"loss {losses['train/loss/total']:.3f}")
        if last or state.step % config.save_every == 0:
            save(engine, task, state, config, metrics)
        if stopping:
            return state.step == config.steps
    return True


def _speed(config: TrainConfig, took_s: float, waited_s: float) -> dict[str, float]:
    volumes_per_s = config.engine.global_batch / took_s
    return {"perf/step_s": took_s, "perf/loader_stall": waited_s / took_s, "perf/volumes_per_s": volumes_per_s}


def save(engine: Engine, task: Task, state: TrainState, config: TrainConfig, metrics: dict[str, float]) -> Path:
    """A checkpoint of this step, with weights that others can load; metrics: of the last evaluation, for the card."""
    engine.average_norm_statistics()

    def export_weights(folder: Path) -> None:
        contract, text = card.describe(task, config, state.step, metrics)
        export.export(folder, engine.module.state_dict(), contract, text)

    return checkpoint.save(Path(config.run), engine, asdict(state), export_weights, keep_last=config.keep_last)
