"""What lands on disk and how it is read back: schema, shards, snapshots, torch dataset."""

from storage.config import StoreConfig

__all__ = ["StoreConfig"]
