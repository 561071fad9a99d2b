"""The digital phantom: an archive of DICOM series, and segmentation cases, whose truth is known exactly."""

from radnet.shards.phantom.archive import write_archive, write_cases
from radnet.shards.phantom.plan import plan_archive
from radnet.shards.phantom.tags import label_headers

__all__ = ["label_headers", "plan_archive", "write_archive", "write_cases"]
