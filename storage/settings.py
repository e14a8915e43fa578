"""The machine's settings for stores that are elsewhere: read from the environment, so that every worker has the same.

Credentials and endpoints are not among them: s3fs, gcsfs and adlfs read their own (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, or fsspec's configuration file).
"""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pseudodepth"


class RemoteSettings(BaseSettings):
    """Each can be given as `PSEUDODEPTH_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="PSEUDODEPTH_", frozen=True)

    cache: Path = Field(default_factory=_cache_folder, description="folder for parts of remote stores that were read")
    cache_bytes: int = Field(10 << 30, ge=64 << 20, description="how much of it may be used, by all processes together")
    single_writer: bool = Field(
        False, description="commit also where the file system cannot tell two writers apart: nobody else may write then"
    )
