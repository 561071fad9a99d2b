"""The digital phantom: an archive of DICOM series, and segmentation cases, whose truth is known exactly."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radnet.shards.phantom.archive import write_archive, write_cases
    from radnet.shards.phantom.plan import plan_archive

__all__ = ["plan_archive", "write_archive", "write_cases"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from radnet.shards.phantom import archive  # pydicom and nibabel load here, not with the package

    return getattr(archive, name)
