"""URLs of stores and datasets that are elsewhere: the file system behind one, and text without its credentials."""

import os
import re
from functools import lru_cache
from typing import Any

import fsspec

from storage.errors import StoreError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
_SECRETS = re.compile(
    r"(?i)(://)[^/@\s]+:[^/@\s]*@"
    r"|((?:sig|signature|x-amz-[a-z-]+|account_?key|access_?key|secret\w*|token|password|sharedaccesssignature)=)[^&\s;'\"]+"
)


def redacted(text: str) -> str:
    """`text` (an error of a library, a URL) in one line, without passwords, signatures and keys."""
    line = " ".join(text.split())
    return _SECRETS.sub(lambda match: f"{match[1] or match[2]}***{'@' if match[1] else ''}", line)


def checked_url(url: str) -> tuple[str, str]:
    """Scheme and URL without a closing slash; raises StoreError if it holds credentials, without repeating them."""
    match = _SCHEME.match(url)
    if match is None:
        raise StoreError(f"{redacted(url)}: not a URL; expected such as s3://bucket/folder")
    scheme, host = match[1].lower(), match[2]
    user, at, _ = host.rpartition("@")
    # abfs://container@account.dfs.core.windows.net is a place, not a login
    if "?" in url or "#" in url or (at and (":" in user or EXTRAS.get(scheme) != "azure")):
        raise StoreError(
            f"{scheme}://...: a URL is kept in snapshots and logs, so it must not hold credentials, '?' or '#'. "
            "Give them through the environment (see 'Remote stores' in docs/store.md)"
        )
    return scheme, url.rstrip("/")


def file_system(url: str) -> fsspec.AbstractFileSystem:
    """The file system of a URL, one a process; raises StoreError that names the extra which is missing."""
    scheme, url = checked_url(url)
    return _file_system(scheme, _account(url), os.getpid())


def _account(url: str) -> str:
    """The part of a URL that is no path: `container@account.dfs...` of an Azure one, which names the account."""
    host = url.split("/", 3)[2]
    return host if "@" in host else ""


@lru_cache
def _file_system(scheme: str, account: str, _process: int) -> fsspec.AbstractFileSystem:
    # one a process: connections do not survive a fork
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        how = f"pip install 'pseudodepth[{EXTRAS[scheme]}]'" if scheme in EXTRAS else redacted(str(error))
        raise StoreError(f"{scheme}://: needs a package that is not installed: {how}") from error
    except ValueError as error:
        raise StoreError(
            f"{scheme}://: unknown; expected a local path, s3://, gs://, az:// or another URL that fsspec knows"
        ) from error
    options: dict[str, Any] = {"use_listings_cache": False}
    if account:
        options |= kind._get_kwargs_from_urls(f"{scheme}://{account}")
    if EXTRAS.get(scheme) == "s3":
        # one layer of retries in the client, with jitter, for single requests: a part of an upload, a page of a list
        options["config_kwargs"] = {
            "retries": {"mode": "standard", "total_max_attempts": 3},
            **fsspec.config.conf.get("s3", {}).get("config_kwargs", {}),
        }
        options["max_concurrency"] = 4  # parts of an upload or download
    try:
        found = fsspec.filesystem(scheme, **options)
    except Exception as error:  # each says in its own way that it has no account or no credentials
        raise StoreError(f"{scheme}://: {redacted(str(error) or type(error).__name__)}") from error
    if EXTRAS.get(scheme) == "s3":
        found.retries = 1  # s3fs' own loop around them has no jitter, and storage/retry.py goes around it all
    return found


def place_in(url: str) -> str:
    """The path of a URL as its file system wants it."""
    scheme, url = checked_url(url)
    return str(fsspec.get_filesystem_class(scheme)._strip_protocol(url))
