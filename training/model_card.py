"""README.md of a shipped model: what it is, how to ask it, what it is worth and what it is not for."""

from __future__ import annotations

from importlib.resources import files

import jinja2

from liveness.card import Card
from training.evaluate import Evaluation
from training.intervals import Interval

RULES = {"eer": "equal-error point", "bpcer": "refuses live:", "apcer": "accepts of each attack:"}


def model_card(card: Card, evaluation: Evaluation | None) -> str:
    """Markdown, with the rates of an evaluation if there is one."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True)
    text = files("training").joinpath("model_card.md").read_text(encoding="utf-8")
    page = environment.from_string(text).render(card=card, e=evaluation, rates=_rates(evaluation), rules=RULES)
    lines = [line.rstrip() for line in page.splitlines()]
    # a template leaves runs of empty lines behind
    return "\n".join(line for i, line in enumerate(lines) if line or (i and lines[i - 1])) + "\n"


def _rates(evaluation: Evaluation | None) -> list[tuple[str, float, Interval | None]]:
    if evaluation is None:
        return []
    rates = evaluation.metrics
    known = {**evaluation.samples.intervals, **evaluation.samples.bootstrap}
    each = [(f"APCER {a}", value, known[f"apcer:{a}"]) for a, value in rates.apcer_per_attack.items()]
    names = ("APCER", "BPCER", "ACER", "EER", "AUC")
    return [*((name, getattr(rates, name.lower()), known.get(name.lower())) for name in names), *each]
