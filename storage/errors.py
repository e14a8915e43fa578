"""The store's own errors: every one names the file, what was expected and what to do."""


class StoreError(Exception):
    """Base of every error that `storage` raises on purpose."""


class BadSample(StoreError):
    """A sample or reject row that breaks the schema or an invariant (live needs depth, spoof must have none)."""


class Damaged(StoreError):
    """Bytes on disk that are not what was written: wrong size, wrong checksum, not decodable."""


class SnapshotConflict(StoreError):
    """Somebody else committed on the same parent; load the current snapshot, plan again, commit on top."""


class UnknownVersion(StoreError):
    """Written by a newer schema than this code knows."""
