"""Scoring a split with a saved model, at a threshold that is saved with it, and all that is said of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from storage.atomic import write_file
from storage.dataset import DepthDataset
from training import metrics
from training.breakdown import (
    Fusion,
    Group,
    NonResponse,
    by_group,
    clusters,
    fuse,
    group_values,
    non_response,
    presentations,
)
from training.checkpoint import load_json, load_model, prepare_folder, save_json
from training.clips import ends_of_clips
from training.errors import TrainingError
from training.intervals import Interval, bootstrap, error_intervals
from training.metrics import Metrics, OperatingPoint, Scores, Threshold
from training.protocols import Protocol, Selection, find_protocol
from training.runtime import pick_device
from training.scoring import feed_of, score_rows, targets_of
from training.splits import Rows, rows_of

COLUMNS = ("sample_id", "dataset", "path", "frame", "subject", "label", "attack")
BOOTSTRAP_SUBJECTS = 8  # fewer people, and the spread between them is anybody's guess


@dataclass(frozen=True)
class Level:
    """What is judged, one score each: a sample (a frame), or a presentation (a medium, its frames' scores fused).

    metrics: at the model's threshold. oracle: at the one that flatters most, chosen on these very scores. points: of
    their own error curve. intervals: 95 %, exact, of each counted rate; bootstrap: over subjects, of the others, empty
    where `bootstrap_note` says why.
    """

    name: Literal["sample", "presentation"]
    metrics: Metrics
    oracle: Metrics
    points: list[OperatingPoint]
    intervals: dict[str, Interval]
    bootstrap: dict[str, Interval]
    bootstrap_note: str


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split: at the dev threshold (`metrics`) and, under its own name, at the oracle's (`oracle`).

    Both are of samples, as is all in `samples`. presentations: the same of whole media, None where each has one frame.
    groups: rates by attack, dataset, device, ... seen_subjects: whoever was trained on and scored all the same.
    protocol: its name, source, notes and metric, and the `figure` that it compares; empty where none was asked for.
    """

    split: str
    level: str
    metrics: Metrics
    oracle: Metrics
    store: dict[str, Any]
    model: dict[str, Any]
    scores: str
    threshold: str
    samples: Level
    presentations: Level | None
    fusion: Fusion
    groups: list[Group]
    non_response: list[NonResponse]
    seen_subjects: list[str]
    protocol: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `positive_class` stands beside every set of rates."""
        return asdict(self)


def evaluate(
    store: str,
    model: Path,
    out: Path,
    *,
    split: str = "test",
    protocol: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seen_subjects: bool = False,
    threshold: str = "eer",
    fusion: Fusion = "mean",
    groups: Sequence[str] | None = None,
) -> Evaluation:
    """Score the plain crops of `split`, or with `protocol` its test rows.

    Writes evaluation.json and scores.parquet (one row a sample) to `out`.

    The threshold is the model's own, from its dev samples (`threshold` names it: eer, bpcer5, apcer1, ...); the oracle
    is chosen here on the scored samples and is only for comparison with papers that do so. Frames of one medium are
    also fused to one score by `fusion`. `groups`: columns or keys of `extra` to break down by; None takes all that
    group. Raises TrainingError when the split is empty or lacks a class, or when its subjects were trained on or chose
    the threshold (unless `seen_subjects`), for a threshold or a group that there is not, or when `out` cannot be
    written.
    """
    net, card = load_model(model)
    fixed = saved_threshold(card, threshold, model)
    place = pick_device(device)
    targets = targets_of(card)
    data = DepthDataset(store, mask=targets.mask)
    asked_for: Protocol | None = None
    if protocol is None:
        rows = rows_of(data.table, split)
        asked = pc.field("split") == split
    else:  # the seed of the training: what it carved off for test must be carved off here
        seed = card["training"]["config"]["seed"]
        asked_for = find_protocol(protocol)
        selection = asked_for.select(data.table, seed=seed, parts=("test",))
        rows, split = selection.test, f"{selection.protocol} test"
        sources = [data.table.column(name).take(rows).unique() for name in ("dataset", "split")]
        asked = pc.field("dataset").isin(sources[0]) & pc.field("split").isin(sources[1])
    asked_rows = len(rows)
    rows = ends_of_clips(data.table, rows, targets, split)
    outside = asked_rows - targets.frames * len(rows)  # frames that are in no clip
    seen = _seen(data, rows, card)
    if seen and not seen_subjects:
        raise TrainingError(
            f"{len(seen)} subjects of this split, e.g. {seen[:3]}, trained {model} or set its threshold: "
            "its error rates would flatter. Evaluate on subjects it has not seen, or pass seen_subjects=True "
            "(--seen-subjects)"
        )
    table = data.table.take(rows)
    if groups:
        group_values(table, groups)  # a wrong name is said before the work, not after it
    prepare_folder(out)
    feed = feed_of(card, data, batch=64, device=place)
    net.to(place)
    scores = score_rows(split, net, feed, rows)
    media = presentations(table)
    people = clusters(table).tolist()
    samples = _level("sample", scores, fixed, people)
    fused = None
    if len(set(media.tolist())) < len(media):
        whole = fuse(scores, media, fusion)
        person = dict(zip(media.tolist(), people, strict=True))
        fused = _level("presentation", whole, fixed, [person[name] for name in whole.sample_id.tolist()])
    rejects = data.snapshot.rejects()
    result = Evaluation(
        split=split,
        level="sample",
        metrics=samples.metrics,
        oracle=samples.oracle,
        store={
            "path": str(data.snapshot.root),
            "snapshot": data.snapshot.number,
            "samples": len(rows),
            "outside_clips": outside,
        },
        model={"folder": str(model), "method": card["method"], "sha256": card["weights"]["sha256"]},
        scores=str(out / "scores.parquet"),
        threshold=threshold,
        samples=samples,
        presentations=fused,
        fusion=fusion,
        groups=by_group(table, scores, fixed.value, groups),
        non_response=non_response(table, rejects.filter(asked)),
        seen_subjects=seen,
        protocol={} if asked_for is None else _protocol_card(asked_for, selection, samples, fused or samples),
    )
    _write_scores(out / "scores.parquet", table.select(list(COLUMNS)), scores, fixed)
    save_json(out / "evaluation.json", result.to_json())
    return result


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that `evaluate` wrote to a folder; raises TrainingError for anything else."""
    path = folder / "evaluation.json"
    try:
        return TypeAdapter(Evaluation).validate_python(load_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TrainingError(f"{path}: {place}: {first['msg']}; run `pseudodepth evaluate` again") from error


def _protocol_card(protocol: Protocol, selection: Selection, samples: Level, presentations: Level) -> dict[str, Any]:
    """What a protocol says of itself, and the one figure that its publication compares, at this level and threshold."""
    metric = protocol.metric
    level = presentations if metric.level == "video" else samples
    return {
        "name": protocol.name,
        "title": protocol.title,
        "source": protocol.source,
        "notes": list(selection.notes),
        "metric": asdict(metric),
        "figure": {
            "name": metric.name,
            "level": metric.level,
            "apcer": metric.apcer,
            "value": metric.of(level.metrics),
            "oracle": metric.of(level.oracle),
        },
    }


def saved_threshold(card: dict[str, Any], name: str, model: Path) -> Threshold:
    """A threshold of a model's card by its name; raises TrainingError that lists what the card has."""
    named = {"eer": card["threshold"], **card.get("thresholds", {})}
    if name not in named:
        raise TrainingError(f"{model}: it has no threshold {name!r}; there are {', '.join(sorted(named))}")
    found = named[name]
    return Threshold(found["value"], found["rule"], found["source"], found["digest"], found.get("limit"))


def _level(
    name: Literal["sample", "presentation"], scores: Scores, threshold: Threshold, people: Sequence[str]
) -> Level:
    spread: dict[str, Interval] = {}
    count, note = len(set(people)), ""
    if count < BOOTSTRAP_SUBJECTS:
        note = f"{count} subjects are too few to tell how much subjects differ ({BOOTSTRAP_SUBJECTS} are the least)"
    else:
        try:
            spread = bootstrap(scores, threshold.value, people)
        except TrainingError as error:
            note = str(error)
    return Level(
        name=name,
        metrics=metrics.measure(scores, threshold),
        oracle=metrics.measure(scores, metrics.oracle_threshold(scores), oracle=True),
        points=metrics.operating_points(scores),
        intervals=error_intervals(scores, threshold.value),
        bootstrap=spread,
        bootstrap_note=note,
    )


def read_scores(path: Path) -> metrics.Scores:
    """The scores that `evaluate` wrote."""
    table = pq.read_table(path)
    column = {
        name: table.column(name).to_numpy(zero_copy_only=False) for name in ("score", "label", "attack", "sample_id")
    }
    return metrics.Scores.of(path.stem, column["score"], column["label"], column["attack"], column["sample_id"])


def _write_scores(path: Path, table: pa.Table, scores: metrics.Scores, threshold: metrics.Threshold) -> None:
    table = table.append_column("score", pa.array(scores.score, pa.float64()))
    meta = {"positive_class": "live", "meaning": "higher = more live", "threshold": repr(threshold.value)}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(meta), sink)
    write_file(path, sink.getvalue().to_pybytes())


def _seen(data: DepthDataset, rows: Rows, card: dict[str, Any]) -> list[str]:
    trained = set(card["split"]["train_subjects"]) | set(card["split"]["dev_subjects"])
    return sorted(trained & set(data.table.column("subject").take(rows).to_pylist()))
