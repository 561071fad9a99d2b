"""resample.cu without a GPU: its body compiled for the host and called through ctypes, and what nvcc says of it."""

import ctypes
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from radnet.kernels import fused

KINDS = [("nearest", False), ("nearest", True), ("linear", False), ("linear", True), ("area", True)]
LOOP = """
extern "C" void run_{number}(const {voxels}* voxels, {out}* out, const Task* task) {{
    for (int column = 0; column * COLUMN < task->out_shape[0]; ++column)
        for (int h = 0; h < task->out_shape[1]; ++h)
            for (int w = 0; w < task->out_shape[2]; ++w) resample_column<{kind}>(voxels, out, *task, column, h, w);
}}
"""
PIECES = """
extern "C" void run_philox(unsigned int* word, const unsigned int* key) { philox(word, key[0], key[1]); }
extern "C" void run_box_muller(unsigned int first, unsigned int second, float* out) { box_muller(first, second, out); }
extern "C" int size_of_task() { return sizeof(Task); }
"""


def instances() -> list[str]:
    """Every kernel there is, by its C++ name."""
    found = itertools.product(fused.IN_TYPES, fused.OUT_TYPES, KINDS)
    return [fused.instance(voxels, out, *kind) for voxels, out, kind in found]


def compiled_for_the_host(folder: Path) -> ctypes.CDLL:
    """The body of every kernel as run_0, run_1, … in the order of `instances`. Skips the test where there is no g++."""
    if not shutil.which("g++"):
        pytest.skip("no g++ to compile resample.cu for the host")
    code = f'#include "{fused.SOURCE}"\n{PIECES}'
    for number, name in enumerate(instances()):
        kind = re.fullmatch(r"resample<(.*)>", name)[1]
        voxels, out = kind.split(", ")[:2]
        code += LOOP.format(number=number, voxels=voxels, out=out, kind=kind)
    (folder / "host.cpp").write_text(code)
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    words = ["g++", *flags, "-shared", "-fPIC", "-o", folder / "host.so", folder / "host.cpp"]
    subprocess.run(words, check=True)
    return ctypes.CDLL(str(folder / "host.so"))


def runner(library: ctypes.CDLL) -> Callable[..., None]:
    """`fused.fused` for NumPy arrays, and torch tensors on the CPU as `out`, without a stream."""
    names = instances()

    def run(voxels: np.ndarray, out_to_in: np.ndarray, out: np.ndarray | torch.Tensor, *, mode="linear", **rest):
        task, scales = fused.describe(voxels.shape, out_to_in, tuple(out.shape), mode=mode, **rest)
        dtype = str(out.dtype).removeprefix("torch.")
        number = names.index(fused.instance(voxels.dtype.name, dtype, mode, scales))
        target = out.data_ptr() if isinstance(out, torch.Tensor) else out.ctypes.data
        function = getattr(library, f"run_{number}")
        function.argtypes, function.restype = [ctypes.c_void_p] * 3, None
        function(voxels.ctypes.data, target, task.ctypes.data)

    return run


def registers_and_spills(folder: Path, arch: str, names: list[str]) -> list[tuple[int, int, int]]:
    """(registers, bytes of stack, bytes spilled) of each kernel compiled by nvcc to PTX and from there to machine code.

    Skips the test where there is no nvcc.
    """
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc to compile resample.cu for a GPU")
    code = f'#include "{fused.SOURCE}"\n'
    for name in names:
        voxels, out = re.fullmatch(r"resample<(.*)>", name)[1].split(", ")[:2]
        code += f"template __global__ void {name}(const {voxels}*, {out}*, const Task);\n"
    (folder / "kernels.cu").write_text(code)
    words = ["nvcc", *fused.OPTIONS, "-Werror=all-warnings"]
    subprocess.run([*words, f"-arch=compute_{arch}", "-ptx", "kernels.cu"], cwd=folder, check=True)
    ptxas = ["ptxas", f"-arch=sm_{arch}", "-v", "-o", "kernels.cubin", "kernels.ptx"]
    said = subprocess.run(ptxas, cwd=folder, check=True, capture_output=True, text=True).stderr
    stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", said)
    used = re.findall(r"Used (\d+) registers", said)
    return [(int(count), int(stack), int(spill)) for count, (stack, spill) in zip(used, stacks, strict=True)]
