"""One clause of a protocol, such as `{dataset: oulu-npu, split: train, session: {not: ["3"]}}`, as rows of a table.

A clause holds where all its keys do. A key is a column of a store, or `extra.KEY` for what an adapter keeps as JSON.
Its value is one value, several to choose from, or a condition:

    label: spoof                      one value; labels are written live and spoof
    session: ["1", "2"]               any of several
    session: {not: ["3"]}             any but these
    frame: {below: 60}                numbers
    extra.lists: [protocol1/train]    a list in the JSON holds one of these
    of: train                         in dev: only rows that the train clauses take
    carved: 0.2                       of what the other keys leave, this share of every dataset's subjects, by seed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.protocols.carve import carve
from training.protocols.columns import EXTRA, Columns, Mask

Clause = Mapping[str, Any]
CARVED, OF = "carved", "of"
COLUMNS = ("dataset", "path", "frame", "split", "subject", "session", "label", "attack", "attack_detail")
_LABELS = {"live": 0, "spoof": 1}


def rows_of_clause(columns: Columns, clause: Clause, seed: int, train: Mask | None = None) -> Mask:
    """The rows where `clause` holds, as (n,) bool; `seed` chooses what is carved, `train` is what `of: train` means."""
    rows = np.ones(len(columns), bool)
    for name, wanted in clause.items():
        if name == OF and train is not None:
            rows &= train
        elif name != CARVED:
            rows &= columns.where(name, _condition(name, wanted))
    return carve(columns, rows, clause[CARVED], seed) if CARVED in clause else rows


def check_clause(clause: Clause, where: str, *, of_train: bool) -> None:
    """Raise TrainingError, naming `where`, for a key that no store has or a value that cannot be asked for."""
    for name, wanted in clause.items():
        if name not in (*COLUMNS, OF, CARVED) and not name.startswith(EXTRA):
            raise TrainingError(f"{where}: no column {name!r}; there are {', '.join(COLUMNS)} and extra.KEY")
        if name == OF:
            if wanted != "train" or not of_train:
                raise TrainingError(f"{where}: `of: {wanted}` is not known; `of: train` stands in dev alone")
        elif name == CARVED:
            if not isinstance(wanted, float) or not 0 < wanted < 1:
                raise TrainingError(f"{where}: carved is {wanted!r}, expected a share between 0 and 1")
        else:
            try:
                _condition(name, wanted)
            except (KeyError, TypeError) as error:
                raise TrainingError(f"{where}: {name} cannot be {wanted!r}; see docs/protocols.md") from error


def datasets_of(clause: Clause) -> list[str]:
    """The datasets that a clause names."""
    return [str(name) for name in several(clause.get("dataset", []))]


def _condition(name: str, wanted: Any) -> Callable[[Any], bool]:  # noqa: ANN401 - as written in a file
    if isinstance(wanted, Mapping):
        ((word, value),) = wanted.items() if len(wanted) == 1 else (("", None),)
        if word == "not":
            inside = _condition(name, value)
            return lambda given: not inside(given)
        if word == "below" and isinstance(value, int | float):
            return lambda given: given is not None and given < value
        raise TypeError(wanted)
    values = {_LABELS[value] if name == "label" else value for value in several(wanted)}
    if not name.startswith(EXTRA):
        return values.__contains__
    # JSON may say 3 where a protocol says "3"
    words = {str(value) for value in values}
    return lambda given: any(str(one) in words for one in several(given))


def several(value: Any) -> Iterable[Any]:  # noqa: ANN401 - as written in a file
    """A list as it is, one value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]
