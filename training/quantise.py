"""The int8 network of an export: calibrated on dev crops, with thresholds of its own, and what it costs measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveness.card import Card, Drift, FrozenThreshold, Network
from liveness.graph import IMAGE, Graph, network_input
from liveness.model import LivenessModel
from training import metrics
from training.dev_crops import DevCrops
from training.onnx_graph import import_onnx, save_onnx

FILE = "model.int8.onnx"
CALIBRATION = 256  # dev crops
GOLDEN_TOLERANCE = 0.02  # sums of 8-bit products are rounded in an order that differs between processors
QUANTISED = ["Conv", "Gemm", "MatMul"]  # the sigmoid stays as it is: it makes scores of logits


def quantise(folder: Path, card: Card, exact: LivenessModel, dev: DevCrops) -> Network:
    """Write `FILE` beside model.onnx: static QDQ, weights per channel, activations uint8; returns its entry.

    reduce_range keeps a bit free: without it, processors without VNNI saturate and score differently.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx = import_onnx()
    prepared, raw, path = folder / "prepared.onnx", folder / "raw.onnx", folder / FILE
    quant_pre_process(str(folder / "model.onnx"), str(prepared))
    quantize_static(
        str(prepared),
        str(raw),
        _Calibration(dev.some(CALIBRATION), exact.card.input.size),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    sha256 = save_onnx(onnx, onnx.load(str(raw)), path, card)
    prepared.unlink()
    raw.unlink()
    graph = Graph(path.read_bytes(), path)
    small, full = _dev_scores(graph, dev), _dev_scores(exact, dev)
    thresholds = metrics.dev_thresholds(small)
    return Network(
        file=FILE,
        sha256=sha256,
        golden_score=float(graph.score(exact.golden()[None])[0]),
        tolerance=GOLDEN_TOLERANCE,
        thresholds={n: FrozenThreshold(**vars(t)) for n, t in thresholds.items()},
        drift=_drift(small, full, thresholds["eer"].value, exact.threshold("eer").value),
    )


def _dev_scores(network: Graph | LivenessModel, dev: DevCrops) -> metrics.Scores:
    return dev.scores(np.concatenate([network.score(batch) for batch in dev.batches()]))


def _drift(small: metrics.Scores, full: metrics.Scores, threshold: float, threshold_full: float) -> Drift:
    gap = np.abs(small.score - full.score)
    changed = (small.score >= threshold) != (full.score >= threshold_full)
    return Drift(
        samples=len(gap),
        largest=float(gap.max()),
        mean=float(gap.mean()),
        auc=metrics.auc(small),
        auc_fp32=metrics.auc(full),
        changed_decisions=float(changed.mean()),
    )


class _Calibration:
    """onnxruntime's CalibrationDataReader: one crop at a time, then None."""

    def __init__(self, crops: NDArray[np.uint8], size: int) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter({IMAGE: network_input(crop[None], size)} for crop in crops)

    def get_next(self) -> dict[str, Any] | None:
        """The next feed."""
        return next(self._feeds, None)
