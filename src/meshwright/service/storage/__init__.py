"""Files of jobs: a local folder or S3-compatible object storage behind one small interface.

    jobs/<id>/views/front.png ...       what was uploaded
    jobs/<id>/depth/front.png ...
    jobs/<id>/checkpoints/<model>/...   results of finished stages, while the job is open
    jobs/<id>/attempts/<token>/...      where an attempt writes (local storage only), while it lasts
    jobs/<id>/output/<model>/...        what was published; in object storage output/<model>/<token>/...

A file under `output` counts only once the job table names it.
"""

from meshwright.service.storage.base import (
    FileMissing,
    Staged,
    Storage,
    StorageUnavailable,
    Stored,
    job_prefix,
    open_storage,
)
from meshwright.service.storage.facts import FileFacts, facts_of

__all__ = [
    "FileFacts",
    "FileMissing",
    "Staged",
    "Storage",
    "StorageUnavailable",
    "Stored",
    "facts_of",
    "job_prefix",
    "open_storage",
]
