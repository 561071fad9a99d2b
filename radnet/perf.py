"""How fast a run goes."""

from radnet.config import TrainConfig


def speed(config: TrainConfig, took_s: float, waited_s: float) -> dict[str, float]:
    """Metrics of one step that took took_s seconds, waited_s of them for the loader."""
    volumes_per_s = config.engine.global_batch / took_s
    return {"perf/step_s": took_s, "perf/loader_stall": waited_s / took_s, "perf/volumes_per_s": volumes_per_s}
