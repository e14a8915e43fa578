"""The curves of a report, each as an SVG in a data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import norm

from storage.atomic import write_file
from training import metrics

LIVE, SPOOF, GREY, INK = "#1f7a8c", "#d1603d", "#8a94a0", "#2b3440"
# live first, then attacks in the order they come; distinguishable without red-green vision
ATTACK_COLOURS = ("#d1603d", "#e0a030", "#7b4b94", "#a8324a", "#5b7b3a", "#6b6b6b")
STYLE: Any = {  # Any: matplotlib types its keys as one long Literal
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#e7eaee",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "pseudodepth",  # equal data, equal bytes
    "figure.constrained_layout.use": True,
}
DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
# each panel: title, log scale, {key in history: words in the legend}
PRETRAIN_PANELS = (
    (
        "Generator's loss terms, after weighting",
        True,
        {"g_l1": "L1", "g_adversarial": "adversarial", "g_class": "class"},
    ),
    (
        "Mean |target − generated| on dev",
        False,
        {"dev_l1_live": "live", "dev_l1_spoof": "spoof"},
    ),
    (
        "Critic's accuracy (chance .5)",
        False,
        {"critic_adversarial_accuracy": "stored or generated", "critic_class_accuracy": "live or spoof"},
    ),
)
DEV_PANEL = ("Dev", False, {"dev_auc": "AUC", "dev_eer": "EER"})


def training_panels(history: Sequence[Mapping[str, float]]) -> tuple[tuple[str, bool, Mapping[str, str]], ...]:
    """The loss terms of any method, under their own names, and its dev figures."""
    shown = {key for record in history for key in record if not key.startswith(("dev_", "ema_"))}
    terms = sorted(key for key in shown - {"epoch", "seconds"} if not key.endswith("accuracy"))
    return ("Loss terms on train, after weighting", True, {key: key for key in terms}), DEV_PANEL


def curves(history: Sequence[Mapping[str, float]], panels: Sequence[tuple[str, bool, Mapping[str, str]]]) -> str:
    """One panel a group of terms over epochs; groups that the history has nothing of are left out."""
    present = [p for p in panels if any(key in record for record in history for key in p[2])]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * max(1, len(present)), 2.5))
        for i, (title, log, keys) in enumerate(present, 1):
            axes = figure.add_subplot(1, len(present), i)
            for (key, words), colour in zip(keys.items(), cycle((LIVE, SPOOF, "#7b4b94", "#e0a030")), strict=False):
                points = [(r["epoch"], r[key]) for r in history if key in r]
                if points:
                    axes.plot(*zip(*points, strict=True), color=colour, label=words, marker="o", markersize=2.5)
            axes.set(title=title, xlabel="epoch", xlim=(0.5, len(history) + 0.5))
            if log:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        return _svg(figure)


def score_histogram(scores: metrics.Scores, dev: float, oracle: float) -> str:
    """Live upwards, attacks stacked by species, both thresholds as lines."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 2.9))
        axes = figure.add_subplot()
        bins = np.linspace(0, 1, 41).tolist()
        axes.hist(scores.live, bins, color=LIVE, alpha=0.85, label=f"live ({len(scores.live)})")
        spoofs = [scores.species(a) for a in scores.attacks]
        labels = [f"{a} ({len(s)})" for a, s in zip(scores.attacks, spoofs, strict=True)]
        axes.hist(spoofs, bins, stacked=True, color=_colours(len(spoofs)), alpha=0.85, label=labels)
        axes.axvline(dev, color=INK, linewidth=1.3, label=f"dev threshold {dev:.3f}")
        axes.axvline(oracle, color=GREY, linewidth=1.3, linestyle="--", label=f"oracle {oracle:.3f}")
        axes.set(xlabel="score (higher = more live)", ylabel="samples", xlim=(0, 1))
        axes.set_yscale("symlog", linthresh=10)
        axes.legend(loc="upper center", ncols=2)
        return _svg(figure)


def det_curve(scores: metrics.Scores, at: metrics.Metrics) -> str:
    """BPCER over APCER of each species and pooled, on normal-deviate axes, with the working point."""
    with rc_context(STYLE):
        figure = Figure(figsize=(3.9, 2.9))
        axes = figure.add_subplot()
        thresholds, pooled, bpcer = metrics.error_curve(scores)
        for attack, colour in zip(scores.attacks, _colours(len(scores.attacks)), strict=True):
            _det_line(axes, metrics.accepted(scores.species(attack), thresholds), bpcer, color=colour, label=attack)
        _det_line(axes, pooled, bpcer, color=INK, linewidth=2, label="pooled")
        low, high = DET_TICKS[0], DET_TICKS[-1]
        x, y = np.clip([at.apcer_pooled, at.bpcer], low, high)
        axes.plot(norm.ppf(x), norm.ppf(y), "o", color=INK, markersize=6, label="at dev threshold", clip_on=False)
        _det_axes(axes)
        return _svg(figure)


def save_det_curves(path: Path, models: Mapping[str, metrics.Scores]) -> None:
    """Write an SVG of several models' DET curves on the same samples, attacks pooled; models: name -> scores."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.2))
        axes = figure.add_subplot()
        for i, (name, scores) in enumerate(models.items()):
            _, pooled, bpcer = metrics.error_curve(scores)
            colours = (LIVE, *ATTACK_COLOURS)
            line = ("-", "--", ":")[i // len(colours) % 3]
            _det_line(axes, pooled, bpcer, color=colours[i % len(colours)], linestyle=line, label=name)
        _det_axes(axes)
        write_file(path, _svg_bytes(figure))


def embedding_panels(embedding: Mapping[str, Any]) -> str:
    """Two PCA panels of the same samples: He initialisation and after pre-training (PDGAN's figure 7)."""
    label, attack = np.array(embedding["label"]), np.array(embedding["attack"], np.str_)
    titles = {"he_init": "Before: He initialisation", "pretrained": "After: PDGAN encoder"}
    return _uri(_pca_panels({title: embedding[key] for key, title in titles.items()}, label, attack))


def save_embedding_panels(
    path: Path, panels: Mapping[str, Mapping[str, Any]], label: NDArray[np.int8], attack: NDArray[np.str_]
) -> None:
    """Write an SVG of PCA panels of the same samples; panels: title -> what `embedding.project` gives."""
    write_file(path, _pca_panels(panels, label, attack))


def _pca_panels(panels: Mapping[str, Mapping[str, Any]], label: NDArray[np.int8], attack: NDArray[np.str_]) -> bytes:
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 3.1))
        for i, (title, one) in enumerate(panels.items(), 1):
            points, share = np.array(one["points"]), one["explained"]
            axes = figure.add_subplot(1, len(panels), i)
            _scatter(axes, points, label, attack)
            axes.set(title=title, xlabel=f"PC 1 ({share[0]:.0%})", ylabel=f"PC 2 ({share[1]:.0%})")
            if i == len(panels):
                axes.legend(loc="best", markerscale=1.6)
        return _svg_bytes(figure)


def seen_panels(projections: Mapping[str, Any], label: NDArray[np.int8], attack: NDArray[np.str_]) -> str:
    """PCA and t-SNE of one embedding: {"pca": (n, 2), "tsne": (n, 2), "explained": two shares}."""
    share = projections["explained"]
    panels = (
        ("pca", f"PCA ({share[0] + share[1]:.0%} of the variance)", "PC 1", "PC 2"),
        ("tsne", "t-SNE", "", ""),
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1))
        for i, (key, title, x, y) in enumerate(panels, 1):
            axes = figure.add_subplot(1, 2, i)
            _scatter(axes, np.asarray(projections[key]), label, attack)
            axes.set(title=title, xlabel=x, ylabel=y)
            if i == 2:
                axes.legend(loc="best", markerscale=1.6)
        return _svg(figure)


def _scatter(axes: Axes, points: metrics.Floats, label: NDArray[np.int8], attack: NDArray[np.str_]) -> None:
    attacks = sorted(set(attack[label == 1]))
    for name, colour in [*zip(attacks, _colours(len(attacks)), strict=True), ("live", LIVE)]:
        chosen = label == 0 if name == "live" else (label == 1) & (attack == name)
        axes.scatter(points[chosen, 0], points[chosen, 1], s=9, color=colour, alpha=0.7, linewidths=0, label=name)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)


def _det_axes(axes: Axes) -> None:
    ticks, names = norm.ppf(DET_TICKS), [f"{t:.1%}".replace(".0%", "%") for t in DET_TICKS]
    axes.set(xlabel="APCER", ylabel="BPCER", xlim=(ticks[0], ticks[-1]), ylim=(ticks[0], ticks[-1]))
    axes.set_xticks(ticks, names, rotation=45)
    axes.set_yticks(ticks, names)
    axes.legend(loc="upper right")


def _det_line(axes: Axes, x: metrics.Floats, y: metrics.Floats, **style: Any) -> None:  # noqa: ANN401 - matplotlib's
    low, high = DET_TICKS[0], DET_TICKS[-1]
    # rates of 0 and 1 have no normal deviate: they lie on the frame
    axes.plot(norm.ppf(np.clip(x, low, high)), norm.ppf(np.clip(y, low, high)), **{"linewidth": 1.3, **style})


def _colours(count: int) -> list[str]:
    return [ATTACK_COLOURS[i % len(ATTACK_COLOURS)] for i in range(count)]


def _svg(figure: Figure) -> str:
    return _uri(_svg_bytes(figure))


def _svg_bytes(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()


def _uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
