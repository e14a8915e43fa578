"""Names under which Prefect knows what flows make: stores of datasets, models of stores."""

import re

from prefect.assets import Asset


def asset(url: str, name: str) -> Asset:
    """The asset at a path or URL; characters that Prefect's keys may not hold become `_`.

    A snapshot, `path@3`, is no asset of its own: the store is, and its materialisations carry the number.
    """
    key = re.sub(r"@\d+$", "", url)
    if "://" not in key:
        key = f"file://{key}"
    return Asset(key=re.sub(r"[^\w./:@+=,~-]", "_", key)[:512], properties={"name": name})
