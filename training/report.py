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
import numpy as np
import torch
from pydantic import TypeAdapter

from storage.atomic import write_file
from storage.dataset import DepthDataset
from training import embedding, figures, pictures, report_tables
from training.checkpoint import load_json, load_model
from training.errors import TrainingError
from training.evaluate import Evaluation, read_scores
from training.metrics import Scores
from training.provenance import lineage
from training.scoring import feed_of
from training.splits import Rows

LIMITS = (
    "Error rates hold for these subjects, cameras and attacks only. Published models trained on one dataset make "
    "several times the errors on another.",
    "The threshold comes from the dev samples. The oracle threshold is chosen on the test samples themselves and is "
    "shown only because papers print it; nobody has it in operation.",
    "The model sees one RGB crop. It does nothing against injected video, and knows only attacks like those it was "
    "trained on.",
    "Pseudo-depth of live faces is an estimate by a face model, not a measurement; a spoof's is zero by definition.",
)
TSNE_LEAST, TSNE_SAMPLES = 40, 600  # of the evaluated split; seconds, and a picture that is not a cloud


def write_report(
    store: str,
    pretrain_dir: Path | None,
    model_dir: Path,
    evaluation: Evaluation,
    out: Path,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page to `out` and its figures as JSON beside it, and return the page's path.

    pretrain_dir None leaves the pre-training's sections out.

    extra (all optional): `title` str; `simulated` str, said at the top of the page; `notes` list of str; `truth`
    mapping of name to value, errors of the labels against a known truth; `tables` mapping of title to such a mapping;
    `limits` list of str, added to those that always hold. Raises TrainingError or StoreError for a folder that is not
    whole.
    """
    extra = extra or {}
    data = DepthDataset(store)
    scores = read_scores(Path(evaluation.scores))
    rows = _rows_of(data, scores)
    model = load_json(model_dir / "model.json")
    history = load_json(model_dir / "history.json")
    facts: dict[str, Any] = {
        "title": extra.get("title", "Liveness from pseudo-depth"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "simulated": extra.get("simulated"),
        "notes": extra.get("notes", []),
        "tables": {
            **({"Labels against the truth": extra["truth"]} if extra.get("truth") else {}),
            **extra.get("tables", {}),
        },
        "limits": [*LIMITS, *extra.get("limits", [])],
        "rates": report_tables.rates(evaluation),
        "kinds": report_tables.kinds(evaluation),
        "counts": report_tables.counts(data),
        "rejects": Counter(data.snapshot.rejects().column("reason").to_pylist()).most_common(),
        "lineage": lineage(data, pretrain_dir, model, evaluation),
    }
    page = _template().render(
        **facts,
        e=evaluation,
        groups=report_tables.by_column(evaluation.groups),
        unlabelled=sum(n.unlabelled for n in evaluation.non_response),
        unresolved=any(not p.resolved for p in evaluation.samples.points),
        model=model,
        histogram=figures.score_histogram(scores, evaluation.metrics.threshold, evaluation.oracle.threshold),
        det=figures.det_curve(scores, evaluation.metrics),
        finetune_curves=figures.curves(history, figures.training_panels(history)),
        seen=_seen(data, rows, scores, model_dir),
        samples=pictures.stored(data, pictures.choose(data, rows, 14)),
        hardest=pictures.hardest(data, scores, 6),
        settings=json.dumps(model["training"], indent=1),
        store_settings=json.dumps(data.snapshot.config, indent=1, default=str),
        **(_pretraining(data, rows, pretrain_dir) if pretrain_dir else {"pretraining": None}),
    )
    facts |= {"evaluation": evaluation, "model": model, "store": data.snapshot.config}
    write_file(out.with_suffix(".json"), TypeAdapter(dict[str, Any]).dump_json(facts, indent=1) + b"\n")
    write_file(out, page.encode())
    return out


def _rows_of(data: DepthDataset, scores: Scores) -> Rows:
    """Where the scored samples are in the store; raises TrainingError if they are not."""
    place = {sample: i for i, sample in enumerate(data.table.column("sample_id").to_pylist())}
    try:
        return np.array([place[sample] for sample in scores.sample_id.tolist()], np.int64)
    except KeyError as error:
        raise TrainingError(
            f"{data.snapshot.root}, snapshot {data.snapshot.number}: it lacks the scored sample {error}; name the "
            "snapshot that was evaluated as STORE@N"
        ) from error


def _seen(data: DepthDataset, rows: Rows, scores: Scores, model_dir: Path) -> str | None:
    """The trained network's embedding of evaluated samples as a picture; None for a method that has none."""
    net, card = load_model(model_dir)
    embed = getattr(net, "embed", None)
    if embed is None or len(rows) < TSNE_LEAST:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:TSNE_SAMPLES])
    feed = feed_of(card, data, batch=64, device=torch.device("cpu"))
    projections = embedding.two_views(embedding.embed_network(net, embed, feed, rows[chosen]))
    return figures.seen_panels(projections, scores.label[chosen], scores.attack[chosen])


def _pretraining(data: DepthDataset, rows: Rows, folder: Path) -> dict[str, Any]:
    card = load_json(folder / "model.json")
    return {
        "pretraining": card,
        "pretrain_curves": figures.curves(load_json(folder / "history.json"), figures.PRETRAIN_PANELS),
        "generated": pictures.generated(data, pictures.choose(data, rows, 12, seed=1), folder),
        "embedding": figures.embedding_panels(load_json(folder / "embedding.json")),
        "pretrain_settings": json.dumps(card["training"], indent=1),
    }


def _template() -> jinja2.Template:
    page = files("training").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report.html": page}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{value:.2%}"
    environment.filters["rate"] = lambda value: f"{value:.4f}"
    environment.filters["bounds"] = lambda found: f"{found.low:.4f} – {found.high:.4f}" if found else ""
    return environment.get_template("report.html")
