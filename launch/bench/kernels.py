"""One CT volume onto the network's grid: radnet beside its peers, and the fused kernel beside a plain copy.

On the CPU everybody gets one thread on one core, and turns within every repeat. Bandwidth counts what must be read, the
32-byte sectors under at least one tap, and what is written, and stands beside a copy in the same run: on the GPU where
there is one, between arrays larger than its cache; else of the CPU path, where it is not judged.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from radnet.kernels import fused, noise
from radnet.kernels.grid import Shape, grid
from radnet.kernels.resample import resample
from radnet.launch.bench import Record, record

IN_SHAPE, OUT_SHAPE = (140, 512, 512), (48, 192, 192)
SPACING_MM = (2.5, 0.78125, 0.78125)
WINDOW_HU = (-1024.0, 1500.0)
LEAST_OF_COPY = 0.8
MOST_NOISE_MS = 100.0
SECTOR = 32  # bytes that a GPU reads at least
VOLUMES = 8  # in turn on a GPU, so that none is read from its cache
LAUNCHES = 5  # of all volumes in one measurement on a GPU
COPY_BYTES = 1 << 30


def measure(repeats: int) -> list[Record]:
    """Records of the CPU, on one core while it measures, and of the GPU that torch sees, if there is one."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    voxels = ct_volume(IN_SHAPE)
    try:
        os.sched_setaffinity(0, {min(cores)})
        torch.set_num_threads(1)
        found = on_the_cpu(voxels, repeats)
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cores)
    if torch.cuda.is_available() and importlib.util.find_spec("cupy"):
        return found + on_the_gpu(voxels, repeats)
    print("no GPU that torch sees, or no CuPy: the fused kernel is not measured, bandwidth is the CPU's and not judged")
    return found


def ct_volume(shape: Shape) -> np.ndarray:
    """A noisy body in air, int16 HU; the same every time."""
    depth, rows, columns = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    body = np.where(rows[:, None] ** 2 / 0.5 + columns**2 / 0.8 < 1, 40, -1000)
    texture = np.random.default_rng(0).normal(0, 20, shape[1:])
    return (body + texture + 30 * depth[:, None, None]).astype(np.int16)


def on_the_cpu(voxels: np.ndarray, repeats: int) -> list[Record]:
    """Milliseconds a volume beside each peer, of the noise beside NumPy's own, and bandwidth beside a copy."""
    times = _in_turn({"radnet": lambda: radnet(voxels), **peers(voxels)}, repeats)
    ours = times.pop("radnet")
    found = [
        record(f"kernels/cpu/linear/{name}", ours, "ms", rival=name, rival_values=theirs)
        for name, theirs in times.items()
    ]
    random, copy = np.random.default_rng(0), np.empty_like(voxels)
    sides = {
        "noise": lambda: noise.normal(0, 1, 2, OUT_SHAPE),
        "standard_normal": lambda: random.standard_normal(OUT_SHAPE, dtype=np.float32),
        "copy": lambda: np.copyto(copy, voxels),
    }
    times = _in_turn(sides, repeats)
    rival = {"rival": "numpy standard_normal", "rival_values": times["standard_normal"]}
    target = {"target": f"<= {MOST_NOISE_MS:g} ms", "met": lambda value, _: value <= MOST_NOISE_MS}
    found.append(record("kernels/cpu/noise", times["noise"], "ms", **rival, **target))
    moved = touched_bytes(voxels) + 4 * int(np.prod(OUT_SHAPE))
    rates = [moved / one / 1e6 for one in ours]
    copies = [2 * voxels.nbytes / one / 1e6 for one in times["copy"]]
    found.append(record("kernels/cpu/bandwidth", rates, "GB/s", rival="copy", rival_values=copies))
    return found


def matrix(shape: Shape = IN_SHAPE) -> np.ndarray:
    """The whole field of view onto the network's grid."""
    return grid(shape, SPACING_MM, OUT_SHAPE)


def touched_bytes(voxels: np.ndarray) -> int:
    """Bytes of the input in sectors under at least one tap of linear interpolation; rows are taken to start at one."""
    counts, out_to_in = [], matrix(voxels.shape)
    for axis, size in enumerate(voxels.shape):
        below = np.floor(np.arange(OUT_SHAPE[axis]) * out_to_in[axis, axis] + out_to_in[axis, 3])
        taps = np.unique(np.concatenate([below, below + 1]).clip(0, size - 1).astype(int))
        counts.append(len(taps) if axis < 2 else len(np.unique(taps * voxels.itemsize // SECTOR)))
    return counts[0] * counts[1] * counts[2] * SECTOR


def radnet(voxels: np.ndarray) -> np.ndarray:
    """radnet's path on a CPU."""
    return resample(voxels, matrix(voxels.shape), OUT_SHAPE)


def peers(voxels: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Those that are installed: each returns the same volume as `radnet`, [D,H,W] float32, from the int16 voxels."""
    known = {
        "DALI": ("nvidia.dali", lambda: _dali(voxels)),
        "MONAI": ("monai", lambda: _monai(voxels)),
        "scipy": ("scipy", lambda: _scipy(voxels)),
        "SimpleITK": ("SimpleITK", lambda: _simpleitk(voxels)),
        "torch": ("torch", lambda: _torch(voxels)),
    }
    missing = [name for name, (module, _) in known.items() if not _is_installed(module)]
    if missing:
        print(f"without {', '.join(missing)}: pip install 'radnet[bench,train,test]'")
    return {name: build() for name, (_, build) in known.items() if name not in missing}


def _is_installed(module: str) -> bool:
    return all(importlib.util.find_spec(".".join(module.split(".")[:n])) for n in range(1, module.count(".") + 2))


def _dali(voxels: np.ndarray) -> Callable[[], np.ndarray]:
    run = dali_pipeline([voxels[..., None]], "cpu", None)
    return lambda: np.asarray(run().at(0))[..., 0]


def _monai(voxels: np.ndarray) -> Callable[[], np.ndarray]:
    from monai.transforms import Resize

    resize = Resize(OUT_SHAPE, mode="trilinear", align_corners=False, anti_aliasing=False)
    return lambda: resize(voxels[None]).numpy()[0]


def _scipy(voxels: np.ndarray) -> Callable[[], np.ndarray]:
    from scipy.ndimage import zoom

    factors = np.asarray(OUT_SHAPE) / voxels.shape
    return lambda: zoom(voxels, factors, np.float32, order=1, mode="nearest", grid_mode=True)


def _simpleitk(voxels: np.ndarray) -> Callable[[], np.ndarray]:
    import SimpleITK as sitk

    out_to_in = matrix(voxels.shape)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(out_to_in[::-1, 2::-1].ravel().tolist())
    transform.SetTranslation(out_to_in[::-1, 3].tolist())

    def run() -> np.ndarray:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        image, reference = sitk.GetImageFromArray(voxels), sitk.Image(list(OUT_SHAPE[::-1]), sitk.sitkFloat32)
        return sitk.GetArrayFromImage(
            sitk.Resample(image, reference, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        )

    return run


def _torch(voxels: np.ndarray) -> Callable[[], np.ndarray]:
    values = torch.from_numpy(voxels)[None, None]
    resize = torch.nn.functional.interpolate
    return lambda: resize(values.float(), OUT_SHAPE, mode="trilinear", align_corners=False)[0, 0].numpy()


def dali_pipeline(volumes: Sequence, device: str, window: tuple[float, float] | None) -> Callable:
    """run() → the volumes [D,H,W,1] on the grid by DALI's own operators: resized, and windowed if asked, float32."""
    from nvidia.dali import fn, math, pipeline_def, types

    @pipeline_def(
        batch_size=len(volumes), num_threads=1, device_id=None if device == "cpu" else 0, prefetch_queue_depth=1
    )
    def graph():
        """The same source again and again, without a copy."""
        source = fn.external_source(source=lambda: volumes, device=device, layout="DHWC", no_copy=True)
        value = fn.resize(
            source,
            size=list(map(float, OUT_SHAPE)),
            interp_type=types.INTERP_LINEAR,
            antialias=False,
            dtype=types.FLOAT,
        )
        return math.clamp((value - window[0]) / (window[1] - window[0]), 0.0, 1.0) if window else value

    pipeline = graph()
    pipeline.build()
    return lambda: pipeline.run()[0]


def on_the_gpu(voxels: np.ndarray, repeats: int) -> list[Record]:
    """GB/s of the fused kernel beside a copy, bare and with noise; milliseconds a volume beside DALI's operators."""
    volumes = [torch.from_numpy(voxels).cuda() for _ in range(VOLUMES)]
    out = torch.empty((VOLUMES, *OUT_SHAPE), dtype=torch.bfloat16, device="cuda")
    out_to_in = matrix(voxels.shape)

    def fuse(std: float) -> None:
        for number, volume in enumerate(volumes):
            added = noise.Noise(std, 0, 1, number) if std else None
            fused.fused(volume, out_to_in, out[number], window=WINDOW_HU, noise=added)

    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    bare, noisy = _captured(lambda: fuse(0.0)), _captured(lambda: fuse(0.1))
    copy = _captured(lambda: target.copy_(source))
    moved = VOLUMES * (touched_bytes(voxels) + out[0].nbytes)
    rates: dict[str, list[float]] = {"fused": [], "noise": [], "copy": []}
    for turn in range(repeats + 1):
        for name, run, size in [("fused", bare, moved), ("noise", noisy, moved), ("copy", copy, 2 * COPY_BYTES)]:
            rate = LAUNCHES * size / _device_ms(run) / 1e6
            if turn:
                rates[name].append(rate)
    found = [
        record(
            f"kernels/gpu/bandwidth/{name}", rates[name], "GB/s", rival="copy", rival_values=rates["copy"],
            target=f">= {LEAST_OF_COPY:g}x", met=(lambda _, ratio: ratio >= LEAST_OF_COPY) if name == "fused" else None,
        )
        for name in ("fused", "noise")
    ]  # fmt: skip
    sides = {"radnet": lambda: fuse(0.0)}
    if _is_installed("nvidia.dali"):
        sides["DALI"] = dali_pipeline([one[..., None] for one in volumes], "gpu", WINDOW_HU)
    times = _in_turn({name: lambda run=run: (run(), torch.cuda.synchronize()) for name, run in sides.items()}, repeats)
    ours, theirs = ([one / VOLUMES for one in times.get(name, [])] for name in ("radnet", "DALI"))
    rival = {"rival": "DALI", "rival_values": theirs} if theirs else {}
    return [*found, record("kernels/gpu/linear/DALI", ours, "ms", **rival)]


def _captured(work: Callable[[], object]) -> Callable[[], None]:
    """The launches of `work` as a CUDA graph, so that what is timed is the GPU and not Python."""
    work()  # compiles, which a capture may not
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _device_ms(run: Callable[[], None]) -> float:
    """Milliseconds between two events on the GPU around LAUNCHES runs."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(LAUNCHES):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _in_turn(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each contender in each repeat; the first turn warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times
