"""One self-contained HTML page that shows a store, the models trained from it and what they are worth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.compute as pc

from storage.atomic import write_file
from storage.dataset import DepthDataset
from training import figures, pictures
from training.checkpoint import load_json
from training.evaluate import Evaluation, read_scores
from training.splits import Rows, rows_of

LIMITS = (
    "Error rates hold for these subjects, cameras and attacks only. Published models trained on one dataset make "
    "several times the errors on another.",
    "The threshold comes from the dev samples. The oracle threshold is chosen on the test samples themselves and is "
    "shown only because papers print it; nobody has it in operation.",
    "The model sees one RGB crop. It does nothing against injected video, and knows only attacks like those it was "
    "trained on.",
    "Pseudo-depth of live faces is an estimate by a face model, not a measurement; a spoof's is zero by definition.",
)
RATES = (  # field of Metrics, name, what it is
    ("auc", "AUC", "area under the ROC, attacks pooled; no threshold"),
    ("eer", "EER", "at the test set's own equal-error point"),
    ("apcer", "APCER", "attacks accepted, the worst species"),
    ("apcer_pooled", "APCER, pooled", "attacks accepted, all species together"),
    ("bpcer", "BPCER", "live samples refused"),
    ("acer", "ACER", "mean of APCER (worst) and BPCER"),
    ("hter", "HTER", "mean of APCER (pooled) and BPCER; PDGAN prints this as its ACER"),
    ("f1", "F1", "live is the positive class; depends on the live share of the set"),
    ("accuracy", "Accuracy", "depends on the live share of the set"),
)


def write_report(
    store: str,
    pretrain_dir: Path | None,
    model_dir: Path,
    evaluation: Evaluation,
    out: Path,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page to `out` and return it. pretrain_dir None leaves the pre-training's sections out.

    extra (all optional): `title` str; `simulated` str, said at the top of the page; `notes` list of str; `truth`
    mapping of name to value, errors of the labels against a known truth; `tables` mapping of title to such a mapping;
    `limits` list of str, added to those that always hold. Raises TrainingError or StoreError for a folder that is not
    whole.
    """
    extra = extra or {}
    data = DepthDataset(store)
    rows = rows_of(data.table, evaluation.split)
    scores = read_scores(Path(evaluation.scores))
    model = load_json(model_dir / "model.json")
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=extra.get("title", "Liveness from pseudo-depth"),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            simulated=extra.get("simulated"),
            notes=extra.get("notes", []),
            tables={
                **({"Labels against the truth": extra["truth"]} if extra.get("truth") else {}),
                **extra.get("tables", {}),
            },
            limits=[*LIMITS, *extra.get("limits", [])],
            e=evaluation,
            rates=[
                (name, words, getattr(evaluation.metrics, key), getattr(evaluation.oracle, key))
                for key, name, words in RATES
            ],
            model=model,
            histogram=figures.score_histogram(scores, evaluation.metrics.threshold, evaluation.oracle.threshold),
            det=figures.det_curve(scores, evaluation.metrics),
            finetune_curves=figures.curves(load_json(model_dir / "history.json"), figures.FINETUNE_PANELS),
            samples=pictures.stored(data, pictures.choose(data, rows, 14)),
            hardest=pictures.hardest(data, scores, 6),
            counts=_counts(data),
            rejects=Counter(data.snapshot.rejects().column("reason").to_pylist()).most_common(),
            lineage=_lineage(data, pretrain_dir, model, evaluation),
            settings=json.dumps(model["training"], indent=1),
            store_settings=json.dumps(data.snapshot.config, indent=1, default=str),
            **(_pretraining(data, rows, pretrain_dir) if pretrain_dir else {"pretraining": None}),
        )
    )
    write_file(out, page.encode())
    return out


def _pretraining(data: DepthDataset, rows: Rows, folder: Path) -> dict[str, Any]:
    card = load_json(folder / "model.json")
    return {
        "pretraining": card,
        "pretrain_curves": figures.curves(load_json(folder / "history.json"), figures.PRETRAIN_PANELS),
        "generated": pictures.generated(data, pictures.choose(data, rows, 12, seed=1), folder),
        "embedding": figures.embedding_panels(load_json(folder / "embedding.json")),
        "pretrain_settings": json.dumps(card["training"], indent=1),
    }


def _counts(data: DepthDataset) -> list[dict[str, Any]]:
    """One row a (split, attack), live first: subjects, plain crops, samples with all views."""
    keys = ["split", "label", "attack"]
    total = (
        data.table.group_by(keys)
        .aggregate([("subject", "count_distinct"), ([], "count_all")])
        .sort_by([(key, "ascending") for key in keys])
    )
    plain = data.table.filter(pc.field("view") == 0).group_by(keys).aggregate([([], "count_all")]).to_pylist()
    plains = {tuple(row[key] for key in keys): row["count_all"] for row in plain}
    return [
        {
            "split": row["split"],
            "name": _kind(row["label"], row["attack"]),
            "subjects": row["subject_count_distinct"],
            "plain": plains.get(tuple(row[key] for key in keys), 0),
            "samples": row["count_all"],
        }
        for row in total.to_pylist()
    ]


def _kind(label: int, attack: str) -> str:
    return "live" if label == 0 else attack or "spoof"


def _lineage(
    data: DepthDataset, pretrain_dir: Path | None, model: Mapping[str, Any], evaluation: Evaluation
) -> list[tuple[str, str]]:
    snapshot, split = data.snapshot, model["split"]
    entries = [
        ("Store", f"{snapshot.root} — snapshot {snapshot.number}, {snapshot.created}"),
        (
            "Shards",
            f"{snapshot.counts['shards']} shards, {snapshot.counts['rows']} rows, {snapshot.counts['bytes']:,} bytes",
        ),
        *(
            (f"Store: {key}", value if isinstance(value, str) else json.dumps(value))
            for key, value in snapshot.lineage.items()
        ),
    ]
    if pretrain_dir:
        card = load_json(pretrain_dir / "model.json")
        entries.append(("Pre-trained generator", f"sha256 {card['weights']['sha256']}"))
        entries.append(("Pre-trained encoder", f"sha256 {card['encoder_sha256']}"))
        entries.append(("Pre-training", f"{pretrain_dir} — snapshot {card['store']['snapshot']}"))
    return [
        *entries,
        ("Classifier", f"sha256 {evaluation.model['sha256']} — {model['weights']['parameters']:,} parameters"),
        (
            "Fine-tuned on",
            f"snapshot {model['store']['snapshot']}, encoder {model['training']['encoder'] or 'He init'}",
        ),
        ("Train", f"{split['train_samples']} samples of {len(split['train_subjects'])} subjects"),
        ("Dev", f"{split['dev_samples']} samples of {len(split['dev_subjects'])} subjects: {split['dev_is']}"),
        ("Evaluated on", f"split {evaluation.split}, {evaluation.store['samples']} samples, one score each"),
    ]


def _environment() -> jinja2.Environment:
    page = files("training").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report.html": page}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    environment.filters["rate"] = lambda value: f"{value:.4f}"
    return environment
