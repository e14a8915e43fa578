"""README.md of a shipped model: what it is, how to ask it, what it is worth and what it is not for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from liveness.card import Card
from training.checkpoint import load_json
from training.errors import TrainingError

RULES = {"eer": "equal-error point", "bpcer": "refuses live:", "apcer": "accepts of each attack:"}


def read_evaluation(folder: Path | None, weights_sha256: str) -> dict[str, Any] | None:
    """evaluation.json of that folder; raises TrainingError if it is of other weights."""
    if folder is None:
        return None
    found: dict[str, Any] = load_json(folder / "evaluation.json")
    if found.get("model", {}).get("sha256") != weights_sha256:
        raise TrainingError(f"{folder}: an evaluation of other weights than these; run `pseudodepth evaluate` again")
    return found


def model_card(card: Card, evaluation: dict[str, Any] | None) -> str:
    """Markdown, with the rates of an evaluation if there is one."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True)
    text = files("training").joinpath("model_card.md").read_text(encoding="utf-8")
    page = environment.from_string(text).render(card=card, e=evaluation, rates=_rates(evaluation), rules=RULES)
    lines = [line.rstrip() for line in page.splitlines()]
    # a template leaves runs of empty lines behind
    return "\n".join(line for i, line in enumerate(lines) if line or (i and lines[i - 1])) + "\n"


def _rates(evaluation: dict[str, Any] | None) -> list[tuple[str, float, dict[str, float] | None]]:
    if evaluation is None:
        return []
    rates, samples = evaluation["metrics"], evaluation["samples"]
    known = {**samples["intervals"], **samples["bootstrap"]}
    each = [(f"APCER {a}", value, known[f"apcer:{a}"]) for a, value in rates["apcer_per_attack"].items()]
    whole = [(name, rates[name.lower()], known.get(name.lower())) for name in ("APCER", "BPCER", "ACER", "EER", "AUC")]
    return [*whole, *each]
