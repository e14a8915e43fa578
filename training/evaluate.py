"""Scoring a split with a saved model at the threshold that is saved with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import write_file
from storage.dataset import DepthDataset
from training import metrics
from training.checkpoint import load_model, prepare_folder, save_json
from training.errors import TrainingError
from training.feed import Feed
from training.loop import pick_device
from training.metrics import Metrics
from training.protocols import find_protocol
from training.scoring import score_rows
from training.splits import Rows, rows_of

COLUMNS = ("sample_id", "dataset", "path", "frame", "subject", "label", "attack")


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split: at the dev threshold (`metrics`) and, under its own name, at the oracle's (`oracle`)."""

    split: str
    level: str
    metrics: Metrics
    oracle: Metrics
    store: dict[str, Any]
    model: dict[str, Any]
    scores: str

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
) -> Evaluation:
    """Score the plain crops of `split`, or with `protocol` its test rows.

    Writes evaluation.json and scores.parquet (one row a sample) to `out`.

    The threshold is the model's own, from its dev samples; the oracle is chosen here on the scored samples and is only
    for comparison with papers that do so. Raises TrainingError when the split is empty or lacks a class, or when its
    subjects were trained on or chose the threshold (unless `seen_subjects`), or when `out` cannot be written.
    """
    net, card = load_model(model)
    place = pick_device(device)
    data = DepthDataset(store)
    if protocol is None:
        rows = rows_of(data.table, split)
    else:  # the seed of the training: what it carved off for test must be carved off here
        seed = card["training"]["config"]["seed"]
        selection = find_protocol(protocol).select(data.table, seed=seed, parts=("test",))
        rows, split = selection.test, f"{selection.protocol} test"
    _refuse_seen(data, rows, card, model, allowed=seen_subjects)
    prepare_folder(out)
    feed = Feed(data, input_size=card["input"]["size"], depth_size=None, batch=64, device=place)
    net.to(place)
    scores = score_rows(split, net, feed, rows)
    fixed = card["threshold"]
    threshold = metrics.Threshold(fixed["value"], fixed["rule"], fixed["source"], fixed["digest"])
    result = Evaluation(
        split=split,
        level="sample",
        metrics=metrics.measure(scores, threshold),
        oracle=metrics.measure(scores, metrics.oracle_threshold(scores), oracle=True),
        store={"path": str(data.snapshot.root), "snapshot": data.snapshot.number, "samples": len(rows)},
        model={"folder": str(model), "method": card["method"], "sha256": card["weights"]["sha256"]},
        scores=str(out / "scores.parquet"),
    )
    _write_scores(out / "scores.parquet", data.table.select(list(COLUMNS)).take(rows), scores, threshold)
    save_json(out / "evaluation.json", result.to_json())
    return result


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


def _refuse_seen(data: DepthDataset, rows: Rows, card: dict[str, Any], model: Path, *, allowed: bool) -> None:
    seen = set(card["split"]["train_subjects"]) | set(card["split"]["dev_subjects"])
    shared = sorted(seen & set(data.table.column("subject").take(rows).to_pylist()))
    if shared and not allowed:
        raise TrainingError(
            f"{len(shared)} subjects of this split, e.g. {shared[:3]}, trained {model} or set its threshold: "
            "its error rates would flatter. Evaluate on subjects it has not seen, or pass seen_subjects=True "
            "(--seen-subjects)"
        )
