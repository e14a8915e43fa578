"""The runs of FAS-SGTD's ablation (arXiv 2003.08061, section 5.3.1), as settings. Published figures: OULU-NPU, ACER."""

from __future__ import annotations

from dataclasses import dataclass

from training.methods import Settings
from training.methods.fas_sgtd import SGTDConfig


@dataclass(frozen=True)
class Variant:
    """One run of a grid. published: the paper's ACER in percent, mean and deviation where it has one, or None."""

    method: str
    settings: Settings
    published: float | None = None
    deviation: float | None = None


def models(base: SGTDConfig = SGTDConfig()) -> dict[str, Variant]:  # noqa: B008 - frozen
    """Table 2, protocol 3: models 1 to 7, each `base` less what it lacks; model 7 is `base`."""
    single = base.single
    first = single.model_copy(update={"gradient": "none", "contrast": 0.0})
    depth_only = base.model_copy(update={"beta": 0.0})
    return {
        "model-1": Variant("fas-sgtd-single", first, 6.25, 3.20),
        "model-2": Variant("fas-sgtd-single", single.model_copy(update={"gradient": "none"}), 5.07, 1.83),
        "model-3": Variant("fas-sgtd-single", single, 3.19, 0.90),
        "model-4": Variant("fas-sgtd", depth_only.model_copy(update={"recurrent": False}), 2.99, 0.72),
        "model-5": Variant("fas-sgtd", depth_only, 2.85, 0.49),
        "model-6": Variant("fas-sgtd", base.model_copy(update={"block": "off"}), 3.20, 1.00),
        "model-7": Variant("fas-sgtd", base, 2.71, 0.63),
    }


def alphas(base: SGTDConfig = SGTDConfig()) -> dict[str, Variant]:  # noqa: B008 - frozen
    """Figure 7, protocol 3: the share of temporal depth from 0 to 0.9; only its best, 0.6, has a printed figure."""
    return {
        f"alpha-{tenths / 10}": Variant(
            "fas-sgtd", base.model_copy(update={"alpha": tenths / 10}), *((2.71, 0.63) if tenths == 6 else ())
        )
        for tenths in range(10)
    }


def intervals(base: SGTDConfig = SGTDConfig()) -> dict[str, Variant]:  # noqa: B008 - frozen
    """One sub-protocol of protocol 3: frames 1, 3, 5 and 7 apart, of a store built with `read: {frames: all}`."""
    published = {1: 3.347, 3: 2.927, 5: 4.223, 7: 2.934}
    return {
        f"interval-{n}": Variant("fas-sgtd", base.model_copy(update={"interval": n}), acer)
        for n, acer in published.items()
    }


GRIDS = {"models": models, "alphas": alphas, "intervals": intervals}
