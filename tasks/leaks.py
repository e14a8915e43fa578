"""People in two splits of the same build: a model that was trained on a face is not tested by it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from storage.duplicates import shared_subjects
from tasks.errors import BuildError
from tasks.sources.media import MEDIA_SCHEMA, Scan


def leaks_of(scans: Sequence[Scan], *, refuse: bool = False) -> list[str]:
    """What to say of subjects in more than one split, one line a pair of splits; nothing is read but the scans.

    Raises BuildError for any of them with `refuse`. The same picture in two splits is for `pseudodepth duplicates`.
    """
    media = pa.concat_tables([MEDIA_SCHEMA.empty_table(), *(scan.media for scan in scans)])
    by_splits: dict[str, list[str]] = {}
    for subject, splits in shared_subjects(media).items():
        by_splits.setdefault(" and ".join(splits), []).append(subject)
    found = [
        f"{len(subjects):,} subjects are in {splits}, such as {', '.join(subjects[:3])}"
        for splits, subjects in sorted(by_splits.items())
    ]
    if refuse and found:
        raise BuildError(f"{'; '.join(found)}: a leak; mend the source's splits, or build without --refuse-leaks")
    return found
