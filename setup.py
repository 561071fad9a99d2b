"""Packaging: ranges only; the tested pins stand in constraints.txt.

`kernels`, `launch` and `shards` are other people's names on PyPI, so in a wheel they live below `radnet`.
"""

from setuptools import setup

CORE = ["torch>=2.10", "numpy>=2.1", "safetensors>=0.5"]
COMMON = ["omegaconf>=2.3", "pyyaml>=6", "fsspec>=2025.3", "pyarrow>=20", "nibabel>=5.3", "psutil>=6"]
LINUX = '; sys_platform == "linux"'
EXTRAS = {
    "shard": COMMON
    + [
        "pydicom>=3.0",
        "python-gdcm>=3.0.24",  # JPEG, JPEG-LS, JPEG 2000, RLE; BSD
        "pylibjpeg-openjpeg>=2.4",  # HTJ2K; MIT
        "pyjpegls>=1.4",
        "imagecodecs>=2025.3",  # HTJ2K, JPEG lossless, JPEG of 12 bits, crc32; BSD
        "ray[default]>=2.50" + LINUX,
    ],
    "train": COMMON
    + [
        "deepspeed>=0.19" + LINUX,
        "nvidia-dali-cuda130>=2.0" + LINUX,
        "wandb>=0.22",
        "matplotlib>=3.10",
        "tqdm>=4.66",
        "pandas>=2.2",  # queries over labels.parquet
    ],
    "s3": ["s3fs>=2025.3"],  # S3 and what speaks its API, behind fsspec; BSD
    "gpu": ["cupy-cuda13x>=14" + LINUX],
    "idc": COMMON + ["idc-index-data>=25"],  # the index of IDC, 78 MB; MIT
    "bench": ["monai>=1.5", "SimpleITK>=2.5", "dcm2niix>=1.0.20250506", "dcm-classifier>=0.9.9", "torchio>=1.2"],
}
EXTRAS["test"] = [
    "pytest>=8",
    "pytest-timeout>=2.3",
    "scikit-learn>=1.6",
    "SimpleITK>=2.5",
    "scipy>=1.15",
    "monai>=1.5",  # the oracle of the ResNets
    "dcm2niix>=1.0.20250506",  # the oracle of volumes
    "hypothesis>=6.100",
    "atheris>=3.0" + LINUX,  # the long fuzzing run
    "idc-index-data>=25",
    "webdataset>=1.0",  # the oracle of tars
    "moto[s3]>=5.1",  # S3 on 127.0.0.1, served by flask; moto[server] brings every other service
    "flask>=3",
    "flask-cors>=5",
    "ruff>=0.12",
] + EXTRAS["s3"]
EXTRAS["all"] = EXTRAS["shard"] + EXTRAS["train"] + EXTRAS["s3"]


def main() -> None:
    """Run setuptools with the package map of the wheel."""
    setup(
        packages=[
            "radnet",
            "radnet.labels",
            "radnet.kernels",
            "radnet.shards",
            "radnet.shards.inventory",
            "radnet.shards.phantom",
            "radnet.launch",
            "radnet.launch.bench",
            "radnet.configs",
        ],
        package_dir={
            "radnet": "radnet",
            "radnet.kernels": "kernels",
            "radnet.shards": "shards",
            "radnet.launch": "launch",
            "radnet.configs": "configs",
        },
        package_data={
            "radnet.configs": ["*.yaml", "ray/*.yaml"],
            "radnet.kernels": ["*.cu"],
            "radnet.shards.phantom": ["*.yaml"],
        },
        install_requires=CORE,
        extras_require=EXTRAS,
    )


# radnet/__init__.py may put this folder on radnet's path; importing radnet.setup must do nothing.
if __name__ == "__main__":
    main()
