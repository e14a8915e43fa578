"""Protocols as files: the published ones in this folder, and your own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from training.errors import TrainingError
from training.protocols.clause import check_clause
from training.protocols.protocol import Metric, Protocol

Clauses = dict[str, Any] | list[dict[str, Any]]
_FIRST = "fold"  # what {fold} stands for where folds are a plain list


class _Entry(BaseModel):
    """One entry of a file: a protocol, or as many as it has folds."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    source: str
    metric: Metric
    folds: list[str | int] | dict[str, dict[str, Any]] | None = None
    train: Clauses
    dev: Clauses | float = Field(description="a share: of train's subjects, carved by seed")
    test: Clauses
    notes: list[str] = []


def protocols() -> Mapping[str, Protocol]:
    """The published protocols by name, each fold one of its own (`oulu-npu-3.1`)."""
    return _published()


def find_protocol(name: str | Path) -> Protocol:
    """A published protocol by its name, or the one in a YAML file of your own (`file.yaml`, or `file.yaml:NAME`).

    Raises TrainingError for an unknown name, naming the known ones that are like it, and for a file that is no
    protocol.
    """
    text = str(name)
    file, _, inside = text.partition(".yaml")
    if text.partition(".yaml")[1]:
        found = read_protocols(Path(f"{file}.yaml"))
        inside = inside.removeprefix(":")
        if not inside and len(found) == 1:
            return next(iter(found.values()))
        if inside not in found:
            raise TrainingError(f"{file}.yaml holds {', '.join(found)}; name one of them as {file}.yaml:NAME")
        return found[inside]
    known = protocols()
    if text in known:
        return known[text]
    folds = [protocol.name for protocol in known.values() if protocol.family == text]
    if folds:
        raise TrainingError(f"protocol {text} has {len(folds)} folds; name one: {', '.join(folds)}")
    raise TrainingError(f"no protocol {text!r}; there are {', '.join(dict.fromkeys(p.family for p in known.values()))}")


def read_protocols(path: Path) -> dict[str, Protocol]:
    """The protocols of a YAML file by name; raises TrainingError that names the file, the entry and what is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainingError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from error
    return _parse(content, str(path))


@lru_cache(maxsize=1)
def _published() -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    folder = files("training.protocols")
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name):
        found |= _parse(yaml.safe_load(file.read_text(encoding="utf-8")), file.name)
    return found


def _parse(content: Any, where: str) -> dict[str, Protocol]:  # noqa: ANN401 - whatever the file holds
    try:
        entries = TypeAdapter(list[_Entry]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise TrainingError(f"{where}: {place}: {first['msg']}; expected a list of protocols") from error
    found: dict[str, Protocol] = {}
    for entry in entries:
        folds = entry.folds
        if folds is None:
            variants: dict[str, dict[str, Any]] = {entry.name: {}}
        elif isinstance(folds, dict):
            variants = {f"{entry.name}.{fold}": values for fold, values in folds.items()}
        else:
            variants = {f"{entry.name}.{fold}": {_FIRST: fold} for fold in folds}
        for name, values in variants.items():
            if name in found:
                raise TrainingError(f"{where}: two protocols are called {name}")
            found[name] = _protocol(name, entry, values, where)
    return found


def _protocol(name: str, entry: _Entry, values: Mapping[str, Any], where: str) -> Protocol:
    def clauses(part: str, given: Clauses) -> tuple[Mapping[str, Any], ...]:
        filled = [
            _fill(clause, values, f"{where}: {name}") for clause in (given if isinstance(given, list) else [given])
        ]
        for clause in filled:
            check_clause(clause, f"{where}: {name}: {part}", of_train=part == "dev")
        return tuple(filled)

    return Protocol(
        name=name,
        family=entry.name,
        title=entry.title.format_map(values),
        source=entry.source.format_map(values),
        metric=entry.metric,
        train=clauses("train", entry.train),
        dev=entry.dev if isinstance(entry.dev, float) else clauses("dev", entry.dev),
        test=clauses("test", entry.test),
        notes=tuple(entry.notes),
    )


def _fill(part: Any, values: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401 - a part of a clause
    """`part` with {word} replaced by the fold's value of that word, which may be a list where it stands alone."""
    if isinstance(part, dict):
        return {key: _fill(value, values, where) for key, value in part.items()}
    if isinstance(part, list):
        filled = [_fill(item, values, where) for item in part]
        return [one for item in filled for one in (item if isinstance(item, list) else [item])]
    if not isinstance(part, str):
        return part
    try:
        whole = values.get(part[1:-1]) if part.startswith("{") and part.endswith("}") else None
        return part.format_map(values) if whole is None else whole
    except KeyError as error:
        raise TrainingError(f"{where}: {part}: {error} is not a word of its folds") from error
