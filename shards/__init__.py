"""From an archive of DICOM series to tar shards: reading, planning, writing, Ray, and the ledger."""
