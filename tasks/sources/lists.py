"""Label lists of datasets: text files of `path ... label` lines.

What 1 means differs from list to list, even within one dataset; so each list that is read is named together with the
label that its authors gave to live.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from storage.schema import LIVE, SPOOF
from tasks.errors import BuildError
from tasks.sources.media import read_text


def labelled_lines(root: Path, name: str, live: str) -> Iterator[tuple[list[str], int]]:
    """The words of each line but the last, and the label (LIVE or SPOOF) that the last one stands for.

    `live` is the word that says live in this list, "0" or "1". Raises BuildError that names the line for any other
    word, and for a file that cannot be read.
    """
    for number, line in enumerate(read_text(root, name).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) < 2 or words[-1] not in ("0", "1"):
            raise BuildError(
                f"{root / name}: line {number}: expected `path ... label` with label 0 or 1, found {line[:80]!r}"
            )
        yield words[:-1], LIVE if words[-1] == live else SPOOF
