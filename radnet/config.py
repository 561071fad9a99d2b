"""Configuration: dataclasses ← YAML ← command line, checked. An unknown key is an error, never a new key."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from radnet.errors import UsageError
from radnet.target import LABELS

T = TypeVar("T")


def option(default: Any, text: str) -> Any:
    """A dataclass field with a default (copied when mutable) and the line `--help` prints for it."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def group(schema: type) -> Any:
    """A dataclass field that is itself a configuration."""
    return field(default_factory=schema)


def require(holds: bool, key: str, value: Any, expected: str) -> None:
    """Raise UsageError naming key, value and what was expected unless it holds."""
    if not holds:
        raise UsageError(f"{key} is {value!r}, expected {expected}")


@dataclass
class GridConfig:
    """The network's input grid."""

    shape: list[int] = option([48, 192, 192], "D,H,W of the network's input; the field that is seen is resized to it")
    pad_short: bool = option(True, "fewer slices than D: centre them and pad with zero slices instead of stretching")

    def __post_init__(self) -> None:
        require(
            len(self.shape) == 3 and min(self.shape) > 0, "data.grid.shape", self.shape, "three positive numbers D,H,W"
        )


@dataclass
class AugmentConfig:
    """Random changes of training volumes; evaluation has none. Labels follow (radnet.augment)."""

    flip: bool = option(True, "flip each axis with probability 1/2")
    rotation_deg: list[float] = option([0, 0, 0], "largest turn around the axes D,H,W; the field grows to hold it all")
    scale: list[float] = option(
        [1, 1], "smallest and largest size of the field in relation to the whole; below 1 crops"
    )
    gamma: list[float] = option([1, 1], "smallest and largest exponent of intensities in 0…1")
    noise: float = option(0.0, "largest standard deviation of Gaussian noise, of intensities in 0…1")

    def __post_init__(self) -> None:
        turns = len(self.rotation_deg) == 3 and min(self.rotation_deg) >= 0 and max(self.rotation_deg) <= 45
        require(turns, "data.augment.rotation_deg", self.rotation_deg, "three angles D,H,W from 0 to 45")
        for name in ("scale", "gamma"):
            value = getattr(self, name)
            holds = len(value) == 2 and 0 < value[0] <= value[1]
            require(holds, f"data.augment.{name}", value, "two positive numbers in ascending order")
        require(self.noise >= 0, "data.augment.noise", self.noise, "0 (none) or more")


@dataclass
class CacheConfig:
    """Where shards of a remote set lie while they are read."""

    folder: str = option("", "local folder for copies of remote shards; empty = radnet-shards in the temporary folder")
    gigabytes: float = option(100.0, "how much it may hold, of all processes of a node together")

    def __post_init__(self) -> None:
        require(self.gigabytes > 0, "data.cache.gigabytes", self.gigabytes, "more than 0")


@dataclass
class DataConfig:
    """From shards to batches."""

    shards: str = option("", "folder or URL of a finished shard set (it has an index.json)")
    more: dict[str, float] = option({}, "further shard sets, {folder or URL: how often each of its samples is read}")
    where: str = option("", "read only samples of which this holds, over columns of labels.parquet: family == 'CT'")
    taxonomy: str = option("paper", "which classes the stored facts are mapped to")
    grid: GridConfig = group(GridConfig)
    crop_mm: list[float] = option([], "largest field D,H,W in mm, 0 = the whole axis; training places it at random")
    intensity: list[float] = option([0.5, 99.5], "the two percentiles mapped to 0 and 1: 0,100 (min-max) or 0.5,99.5")
    ct_window_hu: list[float] = option(
        [], "CT only: the two HU mapped to 0 and 1 instead; tells CT from MR to the network"
    )
    grey_levels: int = option(0, "round intensities to this many levels; 0 = do not")
    augment: AugmentConfig = group(AugmentConfig)
    dtype: str = option("fp32", "of volumes: fp32 or bf16")
    balance_cap: int = option(3, "a rare class is repeated at most this often in an epoch; 1 = never")
    window_shards: int = option(0, "shuffle over this many shards at a time; 0 = over the whole set")
    check: str = option("start", "what is checked: files at the start, or crc = also every sample's checksum")
    cache: CacheConfig = group(CacheConfig)
    num_threads: int = option(2, "DALI threads of each process")

    def __post_init__(self) -> None:
        expected = "two of 0, 0.5, 99.5 and 100, in ascending order (a sample carries no others)"
        known = len(self.intensity) == 2 and set(self.intensity) <= {0, 0.5, 99.5, 100}
        require(known and self.intensity[0] < self.intensity[1], "data.intensity", self.intensity, expected)
        window = not self.ct_window_hu or (len(self.ct_window_hu) == 2 and self.ct_window_hu[0] < self.ct_window_hu[1])
        require(window, "data.ct_window_hu", self.ct_window_hu, "two HU in ascending order, or none")
        crop = not self.crop_mm or (len(self.crop_mm) == 3 and min(self.crop_mm) >= 0)
        require(crop, "data.crop_mm", self.crop_mm, "three lengths D,H,W in mm (0 = the whole axis), or none")
        require(self.grey_levels == 0 or self.grey_levels > 1, "data.grey_levels", self.grey_levels, "0, or 2 or more")
        require(all(weight > 0 for weight in self.more.values()), "data.more", self.more, "weights above 0")
        require(self.dtype in ("fp32", "bf16"), "data.dtype", self.dtype, "fp32 or bf16")
        require(self.balance_cap > 0, "data.balance_cap", self.balance_cap, "1 or more")
        require(self.window_shards >= 0, "data.window_shards", self.window_shards, "0 (the whole set) or more")
        require(self.check in ("start", "crc"), "data.check", self.check, "start or crc")
        require(self.num_threads > 0, "data.num_threads", self.num_threads, "1 or more")


@dataclass
class ModelConfig:
    """The network and where its weights start."""

    backbone: str = option("preact", "a name of radnet.backbones.BACKBONES")
    options: dict[str, Any] = option({}, "keyword arguments of the backbone (width, layers, norm)")
    hidden: int = option(1000, "units of the dense layer before the label heads; 0 = none")
    decoder_width: int = option(16, "channels of the segmentation decoder at full resolution")
    init: str = option("", "exported weights or a run folder to start from; empty = random")
    freeze: str = option("none", "freeze the backbone up to this group (stem, block1, …), all, or none")

    def __post_init__(self) -> None:
        require(self.hidden >= 0, "model.hidden", self.hidden, "0 (none) or more")
        require(self.decoder_width > 0, "model.decoder_width", self.decoder_width, "1 or more")
        require("in_channels" not in self.options, "model.options", self.options, "no in_channels: volumes have one")


@dataclass
class OptimizerConfig:
    """AdamW, its schedule and clipping."""

    learning_rate: float = option(1e-3, "peak learning rate of AdamW, after warm-up")
    weight_decay: float = option(1e-2, "AdamW's decoupled weight decay")
    warmup_steps: int = option(20, "steps of linear warm-up before the cosine decay")
    clip: float = option(1.0, "largest gradient norm; 0 = no clipping")

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "warmup_steps", "clip"):
            require(getattr(self, name) >= 0, f"optimizer.{name}", getattr(self, name), "0 or more")


@dataclass
class EngineConfig:
    """How a step is cut over processes."""

    micro_batch: int = option(4, "samples of one forward pass of one process")
    global_batch: int = option(8, "samples of one optimizer step, over all processes and accumulated micro-batches")
    zero_stage: int = option(1, "DeepSpeed ZeRO stage: 0, 1 or 2")
    precision: str = option("fp32", "fp32, or bf16 through torch autocast")

    def __post_init__(self) -> None:
        for name in ("micro_batch", "global_batch"):
            require(getattr(self, name) > 0, f"engine.{name}", getattr(self, name), "1 or more")
        require(self.zero_stage in (0, 1, 2), "engine.zero_stage", self.zero_stage, "0, 1 or 2")
        require(self.precision in ("fp32", "bf16"), "engine.precision", self.precision, "fp32 or bf16")


@dataclass
class TrackingConfig:
    """Where numbers go besides metrics.jsonl."""

    wandb: str = option("offline", "Weights & Biases: online, offline or off; metrics.jsonl is always written")
    project: str = option("radnet", "Weights & Biases project")
    timeout_s: int = option(15, "how long a dead network may delay the start")

    def __post_init__(self) -> None:
        if self.wandb == "False":  # YAML reads a bare off as a boolean
            self.wandb = "off"
        require(self.wandb in ("online", "offline", "off"), "tracking.wandb", self.wandb, "online, offline or off")


@dataclass
class TrainConfig:
    """One run of training: labels (pretrain) or masks (finetune)."""

    run: str = option("", "folder of the run: checkpoints, metrics.jsonl; run again to resume")
    device: str = option("cpu", "cpu or cuda")
    seed: int = option(0, "seed of initial weights, order and augmentation")
    steps: int = option(1000, "optimizer steps")
    log_every: int = option(10, "steps between log lines")
    evaluate_every: int = option(100, "steps between evaluations on the validation split")
    save_every: int = option(100, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept")
    max_train_samples: int = option(0, "use only the first N training samples (in hash order); 0 = all")
    data: DataConfig = group(DataConfig)
    model: ModelConfig = group(ModelConfig)
    optimizer: OptimizerConfig = group(OptimizerConfig)
    engine: EngineConfig = group(EngineConfig)
    tracking: TrackingConfig = group(TrackingConfig)
    label_weights: dict[str, float] = option({}, "weight of a label's loss by name; 1 where absent")

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "evaluate_every", "save_every", "keep_last"):
            require(getattr(self, name) > 0, name, getattr(self, name), "1 or more")
        require(0 <= self.seed < 1 << 64, "seed", self.seed, "0 to 2^64 - 1")
        require(self.max_train_samples >= 0, "max_train_samples", self.max_train_samples, "0 (all) or more")
        fits = self.data.dtype == "fp32" or self.engine.precision == "bf16"
        require(fits, "data.dtype", self.data.dtype, "fp32, or engine.precision=bf16 beside it")
        expected = f"names of {', '.join(LABELS)}"
        require(set(self.label_weights) <= set(LABELS), "label_weights", self.label_weights, expected)


def describe(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every key of a schema with its default and help text, depth first."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        name = prefix + item.name
        if is_dataclass(hints[item.name]):
            yield from describe(hints[item.name], name + ".")
        else:
            default = item.default_factory() if item.default is MISSING else item.default
            yield name, default, item.metadata.get("help", "")


def find(path: str) -> Path:
    """The config file named, or one of radnet's own by name (`pretrain_demo` or `configs/pretrain_demo.yaml`).

    Raises UsageError that lists radnet's own when there is none.
    """
    given = Path(path)
    if given.is_file():
        return given
    own = _own_configs()
    by_name = own / (given.name if given.suffix else given.name + ".yaml")
    if by_name.is_file() and (len(given.parts) == 1 or given.parts[0] == "configs"):
        return by_name
    names = ", ".join(sorted(file.stem for file in own.glob("*.yaml")))
    raise UsageError(f"config {path!r} does not exist; give a YAML file or one of radnet's own: {names}")


def _own_configs() -> Path:
    import radnet

    return next(Path(folder) / "configs" for folder in radnet.__path__ if (Path(folder) / "configs").is_dir())


def load(schema: type[T], path: str | None, overrides: Sequence[str] = ()) -> T:
    """Merge a schema's defaults, a YAML file and `key=value` overrides.

    Returns an instance of the schema. Raises UsageError in one line for an unknown key, a value of the wrong type, a
    file that is not YAML or an override that is not key=value.
    """
    import yaml
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for text in overrides:
        if "=" not in text or text[0] in "+-~":
            raise UsageError(f"override {text!r} was given, expected key=value, for example engine.global_batch=8")
    where = f"config {path}" if path else "the configuration"
    try:
        merged = OmegaConf.structured(schema)
        if path:
            content = OmegaConf.load(find(path))
            require(isinstance(content, DictConfig), "config", path, "a YAML file of keys and values")
            merged = OmegaConf.merge(merged, content)
        where = "the command line" if overrides else where
        merged = OmegaConf.merge(merged, OmegaConf.from_dotlist(list(overrides)))
        # ${oc.env:…} would carry secrets of the environment into logs and checkpoints.
        require("${" not in OmegaConf.to_yaml(merged, resolve=False), "${…}", "interpolation", "plain values")
        return OmegaConf.to_object(merged)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    except OmegaConfBaseException as error:
        raise UsageError(f"{where}: {_explain(schema, error)}") from None


def _explain(schema: type, error: Exception) -> str:
    """OmegaConf's message in one line, with the closest known key when a key is unknown."""
    first = str(error).splitlines()[0]
    key = (getattr(error, "full_key", None) or "").split("[")[0]
    known = [name for name, _, _ in describe(schema)]
    if key and key not in known and not any(name.startswith(key + ".") for name in known):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "; --help lists the keys")
    return f"{key or 'value'}: {first}"
