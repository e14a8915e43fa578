"""An experiment as a file: rows that are trained, columns that are reported, and the figures that were published."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import TrainingError
from training.methods import METHODS, get_method

# parameters: of the network, in millions. f1_even: as if live and spoof were equally many
Column = Literal[
    "parameters",
    "bpcer",
    "apcer",
    "apcer_pooled",
    "acer",
    "hter",
    "eer",
    "auc",
    "f1",
    "f1_even",
    "accuracy",
    "threshold",
]
OWN_SPLITS = "own-splits"  # in the place of a protocol: what the stores themselves call train, dev and test
EVERY_METHOD = "methods"
_PARTS = ("pdgan-generator",)  # methods that are a stage of another one's row


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Strict):
    """One line of a table: what is trained for it, and what was published for it. Without a method: published alone."""

    name: str = Field(pattern=r"^[a-z0-9+][a-z0-9.+-]*$")
    title: str
    method: str | None = None
    settings: dict[str, Any] = Field(default={}, description="of the method")
    run: dict[str, Any] = Field(default={}, description="fields of TrainConfig, for pre-training and training alike")
    pretrain: dict[str, Any] | None = Field(default=None, description="fields of PretrainConfig; its encoder is used")
    weights: str | None = Field(default=None, description="name of a file that the caller brings, as settings.encoder")
    protocol: str | None = Field(default=None, description="instead of the experiment's")
    published: dict[Column, float | tuple[float, float]] = Field(default={}, description="a figure, or mean and spread")
    against: str | None = Field(default=None, description="a row to compare with, seed by seed")

    @model_validator(mode="after")
    def _one_encoder(self) -> Row:
        if self.pretrain is not None and self.weights is not None:
            raise ValueError("pretrain and weights both give the encoder; name one")
        if self.method is None and (self.settings or self.run or self.pretrain is not None or self.weights):
            raise ValueError("settings without a method to train")
        return self


class Experiment(_Strict):
    """A table of a paper, or one of your own. Published figures stand as printed, in `unit`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    source: str = Field(description="where the published figures are from")
    protocol: str = Field(description=f"a protocol, or the family of several folds, or {OWN_SPLITS}")
    level: Literal["sample", "presentation"] = "sample"
    unit: Literal["fraction", "percent"] = "fraction"
    published_threshold: str = Field(default="", description="where the published figures' threshold is from")
    columns: dict[Column, str] = Field(min_length=1, description="what is reported, with the paper's heading")
    rows: list[Row] = Field(min_length=1)
    figures: list[Literal["pdgan", "det"]] = Field(
        default=[], description="pdgan: that paper's, of the first row with a pre-training; det: all rows in one plot"
    )
    notes: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _rows_of_all_methods(cls, content: object) -> object:
        if isinstance(content, Mapping) and content.get("rows") == EVERY_METHOD:
            return {**content, "rows": [_plain_row(name) for name in METHODS if name not in _PARTS]}
        return content

    @model_validator(mode="after")
    def _known(self) -> Experiment:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("two rows have the same name")
        for row in self.rows:
            if row.against is not None and row.against not in names:
                raise ValueError(f"row {row.name} is held against {row.against!r}, which is no row")
        unknown = {column for row in self.rows for column in row.published} - set(self.columns)
        if unknown:
            raise ValueError(f"published figures for {sorted(unknown)}, which are not among the columns")
        return self


def experiments() -> Mapping[str, Experiment]:
    """The experiments that come with the project, by name."""
    return _shipped()


def find_experiment(name: str | Path) -> Experiment:
    """An experiment by its name, or the one in a YAML file of your own.

    Raises TrainingError for an unknown name, naming those there are, and for a file that is no experiment.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        try:
            return _read(path.read_text(encoding="utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise TrainingError(f"{path}: not a readable YAML file: {error}") from error
    if text not in experiments():
        raise TrainingError(
            f"no experiment {text!r}; there are {', '.join(experiments())}, or a .yaml file of your own"
        )
    return experiments()[text]


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Experiment]:
    folder = files("training.experiments")
    found = (
        _read(entry.read_text(encoding="utf-8"), entry.name)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    )
    return {experiment.name: experiment for experiment in found}


def _read(text: str, where: str) -> Experiment:
    try:
        return Experiment.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise TrainingError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise TrainingError(
            f"{where}: {place}: {first['msg']}; docs/experiments.md says what an experiment is"
        ) from error


def _plain_row(method: str) -> dict[str, Any]:
    """A method as its paper has it; PDGAN's classifier starts from its own pre-training."""
    pretrain: dict[str, Any] = {"pretrain": {}} if method == "pdgan" else {}
    return {"name": method, "title": f"{method} ({get_method(method).reference})", "method": method, **pretrain}
