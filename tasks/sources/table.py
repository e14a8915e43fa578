"""Any collection described by a CSV or Parquet file: a row for each medium, `path`, `label` and whatever else is known.

    path,label,attack,subject,split,x1,y1,x2,y2,camera
    2024/ann/1.jpg,live,,ann,train,10,20,110,140,phone
    2024/ann/2.mp4,spoof,print,ann,train,,,,,phone

`path` is below the table's own folder. `label` is live or spoof (also 0 and 1). Known columns: split (train if there is
none), subject (without one a medium is a subject of its own), session, attack, attack_detail, and a box as x1, y1, x2,
y2 in pixels. All other columns go to the extra data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from storage.schema import LIVE, SPOOF
from tasks.errors import BuildError
from tasks.sources.folder import attack_word
from tasks.sources.media import KINDS, SPLITS, File, Ignored, MediaTable, Scan, walk
from tasks.sources.source import Source

_LABELS = dict.fromkeys(("live", "real", "bonafide", "genuine", "0"), LIVE)
_LABELS |= dict.fromkeys(("spoof", "fake", "attack", "1"), SPOOF)
_BOX = ("x1", "y1", "x2", "y2")
_TAKEN = ("track", "turns", "turned")  # names in the extra data that a build acts on
_ENDINGS = (".csv", ".parquet")
_ROWS = 65_536


def scan(root: Path, dataset: str = "table") -> Scan:
    """List the media that a table names; `root` is the table, or a folder with one table in it.

    Raises BuildError that names the table, and the row where there is one, for a table that cannot be read, a missing
    column, a word that is none of the known ones, a path that leaves the folder, and a path that is there twice.
    """
    file = _find(dataset, root)
    folder = file.parents[0]
    rows = _read(file)
    ignored: Ignored = []
    files = {found.path: found for found in walk(folder, (), ignored)}
    del files[file.name]
    media = MediaTable(dataset)
    for number, row in rows:
        _add(media, files, f"{file}: row {number}", row, ignored)
    if not media.rows:
        raise BuildError(f"{dataset}: none of the files that {file} names is below {folder}")
    ignored += [(path, f"not in {file.name}") for path in files]
    return Scan(dataset, folder, media.table(), sorted(ignored), f"{file.name}, {media.rows} rows with a file")


def _find(dataset: str, root: Path) -> Path:
    if root.name.endswith(_ENDINGS) and root.is_file():
        return root
    if not root.is_dir():
        raise BuildError(f"{dataset}: {root} is no CSV or Parquet file, and no folder with one in it")
    tables = sorted(path for path in root.iterdir() if path.name.endswith(_ENDINGS))
    if len(tables) != 1:
        found = f"there are {', '.join(path.name for path in tables)}" if tables else "there is none"
        raise BuildError(f"{dataset}: {root} should hold one CSV or Parquet file, {found}; give its path")
    return tables[0]


def _read(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number (from 1, without the header) and values; a CSV's are text, empty where there is none."""
    try:
        content = pa.BufferReader(file.read_bytes())
        if file.name.endswith(".parquet"):
            table = pq.read_table(content)
        else:
            names = pyarrow.csv.open_csv(content).schema.names
            content.seek(0)
            as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = pyarrow.csv.read_csv(content, convert_options=as_text)
    except (OSError, pa.ArrowException) as error:
        raise BuildError(f"{file}: cannot be read as a table ({error})") from error
    missing = {"path", "label"} - set(table.column_names)
    if missing or any(name in table.column_names for name in _TAKEN):
        wrong = f"no column {missing.pop()}" if missing else f"columns may not be called {', '.join(_TAKEN)}"
        raise BuildError(f"{file}: {wrong}; it has {', '.join(table.column_names)}")
    number = 0
    for batch in table.to_batches(_ROWS):
        for row in batch.to_pylist():
            number += 1
            # what is not there: null, nothing, or a NaN, which equals nothing
            yield number, {name: value for name, value in row.items() if value not in (None, "") and value == value}


def _add(media: MediaTable, files: dict[str, File], where: str, row: dict[str, Any], ignored: Ignored) -> None:
    path = str(row.pop("path", "")).replace("\\", "/").removeprefix("./")
    if path.startswith("/") or ":" in path.split("/")[0] or ".." in path.split("/"):
        raise BuildError(f"{where}: path {path!r} is not below the table's folder")
    word, split, attack = (
        str(row.pop(name, default)) for name, default in (("label", ""), ("split", "train"), ("attack", ""))
    )
    label = _LABELS.get(word.lower())
    if label is None:
        raise BuildError(f"{where}: label {word!r}, expected live or spoof (0 or 1)")
    if split not in SPLITS:
        raise BuildError(f"{where}: split {split!r}, expected one of {', '.join(SPLITS)}")
    if label == LIVE and attack:
        raise BuildError(f"{where}: it is live, and has the attack {attack!r}")
    box = [row.pop(name, None) for name in _BOX]
    try:
        given = None if box == [None] * 4 else [float(value) for value in box]
    except (TypeError, ValueError) as error:
        raise BuildError(f"{where}: {', '.join(_BOX)} are {box}, expected four numbers or none") from error
    detail = str(row.pop("attack_detail", attack or "unknown"))
    subject, session = str(row.pop("subject", path)), str(row.pop("session", ""))
    file = files.pop(path, None)
    if file is None:
        ignored.append((path, f"{where.rpartition(': ')[2]} of the table: no such file, or named before"))
    elif file.suffix not in KINDS:
        ignored.append((path, "neither a picture nor a video by its ending"))
    else:
        media.add(
            file,
            split=split,
            subject=subject,
            session=session,
            label=label,
            kind=KINDS[file.suffix],
            attack="" if label == LIVE else attack_word(attack),
            attack_detail="" if label == LIVE else detail,
            box=given,
            extra=json.dumps(row, default=str),
        )


SOURCE = Source("table", "a CSV or Parquet table of your own", scan)
