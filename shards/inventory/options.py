"""What `radnet inventory` is told: which series, how many of each class, how split, what to budget for."""

import math
from dataclasses import asdict, dataclass

from radnet.config import group, option, require
from radnet.labels import TAXONOMIES
from radnet.labels.sequence import FAMILIES
from radnet.shards.codec import SUFFIX
from radnet.shards.config import PrivacyConfig, SplitsConfig

DISJOINT = ("patient", "collection")


@dataclass
class DrawConfig:
    """A draw with as many series of each class as there are, up to an equal share."""

    series: int = option(
        0, "draws, shared evenly over classes of sequence, a test split by collection whole; 0 = all once"
    )
    classes: list[str] = option([], "classes of sequence that are drawn; empty = all of the taxonomy")
    cap: int = option(3, "a training series of a rare class is drawn at most this often; others once")
    seed: int = option(0, "another seed draws other series of the classes that have enough")


@dataclass
class BudgetConfig:
    """Assumptions of the budget. What is not measured says so."""

    codec: str = option("npy", "npy or htj2k")
    shard_bytes: int = option(512_000_000, "a shard is full at this many bytes of uncompressed voxels")
    finest_mm: list[float] | None = option(None, "finest spacing kept along D,H,W when sharding; null = native")
    cores: int = option(16, "cores that shard at once")
    download_mb_per_s: float = option(100.0, "assumed download rate, megabytes per second")
    gpu: str = option("H200", "name of the GPU the next figure is of; nothing looks it up")
    gpu_tflops: float = option(780.0, "assumed peak of one GPU, bf16 TFLOP/s (H200 770 to 800, H100 about 750)")
    gpu_utilisation: float = option(0.25, "assumed fraction of the peak that a training step reaches")
    gflop_per_sample: float = option(156.4, "forward pass of the network on one sample (the paper's: 156.4)")
    loader_mb_per_s: float = option(600.0, "assumed decoding rate beside one GPU (8 threads at 75 MB/s, measured)")

    def __post_init__(self) -> None:
        require(self.codec in SUFFIX, "budget.codec", self.codec, " or ".join(SUFFIX))
        for name in ("shard_bytes", "cores", "download_mb_per_s", "gpu_tflops", "gflop_per_sample", "loader_mb_per_s"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"budget.{name}", value, "a positive number")
        require(0 < self.gpu_utilisation <= 1, "budget.gpu_utilisation", self.gpu_utilisation, "a fraction up to 1")
        finest = self.finest_mm
        fits = finest is None or (len(finest) == 3 and all(0 <= value < math.inf for value in finest))
        require(fits, "budget.finest_mm", finest, "three distances D,H,W in mm, or null")


@dataclass
class InventoryConfig:
    """A corpus: filters, draw, splits, budget. Names may hold * and ? and are compared without case."""

    index: str = option("", "folder of idc_index.parquet and collections_index.parquet; empty = the installed package")
    modalities: list[str] = option(["CT", "MR"], "modalities kept; empty = all")
    images_only: bool = option(True, "leave out screen captures, raw data, reports and colour images")
    original_only: bool = option(True, "leave out analysis results, which repeat series of their collection")
    species: list[str] = option(["Human"], "species of the collection kept; empty = all")
    licences: list[str] = option([], "licences kept; empty = all")
    exclude_licences: list[str] = option(["*-NC*"], "licences left out")
    collections: list[str] = option([], "collections kept; an unknown one is an error; empty = all")
    published_collections: list[str] = option(
        [], "collections of a published corpus, kept too; those that the index lacks are listed, not refused"
    )
    exclude_collections: list[str] = option([], "collections left out; an unknown one is an error")
    manufacturers: list[str] = option([], "manufacturers kept; empty = all")
    min_slices: int = option(16, "series of fewer instances are left out; a multi-frame object is one instance")
    max_slices: int = option(0, "series of more instances are left out; 0 = no limit")
    min_mb: float = option(0.0, "series of fewer megabytes are left out")
    max_mb: float = option(0.0, "series of more megabytes are left out; 0 = no limit")
    exclude_families: list[str] = option(["LOCALIZER", "DERIVED"], "families of image left out, by their text")
    taxonomy: str = option("paper", "taxonomy of the column sequence: paper or extended")
    draw: DrawConfig = group(DrawConfig)
    splits: SplitsConfig = group(SplitsConfig)
    disjoint: str = option("patient", "what test shares with no other split: patient, or collection (and patient)")
    test_collections: list[str] = option([], "with disjoint=collection: these are test; empty = by hash of the name")
    test_series_per_patient: int = option(0, "series of one patient in test; 0 = all")
    budget: BudgetConfig = group(BudgetConfig)

    def __post_init__(self) -> None:
        expected = ", ".join(TAXONOMIES)
        require(self.taxonomy in TAXONOMIES, "taxonomy", self.taxonomy, f"one of {expected}")
        require(self.disjoint in DISJOINT, "disjoint", self.disjoint, "patient or collection")
        lonely = not self.test_collections or self.disjoint == "collection"
        require(lonely, "test_collections", self.test_collections, "none unless disjoint=collection")
        classes = TAXONOMIES[self.taxonomy].sequence
        require(set(self.draw.classes) <= set(classes), "draw.classes", self.draw.classes, f"of {', '.join(classes)}")
        known = set(self.exclude_families) <= set(FAMILIES)
        require(known, "exclude_families", self.exclude_families, f"of {', '.join(FAMILIES)}")
        require(self.draw.cap > 0, "draw.cap", self.draw.cap, "1 or more")
        for name in ("min_slices", "max_slices", "min_mb", "max_mb", "test_series_per_patient"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "0 or more")
        require(self.draw.series >= 0, "draw.series", self.draw.series, "0 (no draw) or more")
        fractions = list(asdict(self.splits).values())
        whole = all(fraction >= 0 for fraction in fractions) and abs(sum(fractions) - 1) <= 1e-6
        require(whole, "splits", fractions, "three fractions that add up to 1")
        rest = self.disjoint == "patient" or self.splits.train + self.splits.validation > 0
        require(rest, "splits", fractions, "train or validation above 0 where disjoint=collection")


@dataclass
class ListedConfig(InventoryConfig):
    """The same keys for a list of series that somebody chose: nothing is left out unless a key says so."""

    modalities: list[str] = option([], "modalities kept; empty = all")
    images_only: bool = option(False, "leave out screen captures, raw data, reports and colour images")
    original_only: bool = option(False, "leave out analysis results, which repeat series of their collection")
    species: list[str] = option([], "species of the collection kept; empty = all")
    exclude_licences: list[str] = option([], "licences left out")
    min_slices: int = option(0, "series of fewer instances are left out; a multi-frame object is one instance")
    exclude_families: list[str] = option([], "families of image left out, by their text")
    collection: str = option("", "what a folder's collection is called")
    licence: str = option("", "licence of a folder's collection")
    privacy: PrivacyConfig = group(PrivacyConfig)
    num_workers: int = option(0, "processes that read a folder's headers; 0 = all cores")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_workers >= 0, "num_workers", self.num_workers, "0 (all cores) or more")
