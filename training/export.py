"""A trained model to a folder that runs without torch: ONNX, model.json, a model card and a golden picture or clip.

What is written is what `liveness` reads, and it is read back with it before the folder gets its name: an export whose
scores are not torch's never stands there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from liveness.card import (
    FILE,
    Card,
    ClipRule,
    CropRule,
    FrozenThreshold,
    Golden,
    InputRule,
    Licence,
    Network,
    Sharpness,
)
from liveness.model import LivenessModel, Precision
from storage.dataset import DepthDataset
from storage.errors import StoreError
from training.checkpoint import load_model, prepare_folder
from training.dev_crops import DevCrops
from training.errors import TrainingError
from training.evaluate import read_evaluation
from training.golden import draw_golden, golden_png
from training.methods import Targets
from training.model_card import model_card
from training.onnx_graph import ScoredGraph, import_onnx, write_onnx
from training.quantise import quantise
from training.scoring import targets_of

GOLDEN_TOLERANCE = 1e-4  # on other processors
NOT_STATED = "not stated; the agreements of the datasets bind whoever uses these weights"


def export(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    store: str | None = None,
    int8: bool = False,
    weights_licence: str = NOT_STATED,
    evaluation: Path | None = None,
) -> Path:
    """Write the shipped model `out` from a training run's folder; returns `out`.

    The dev samples, found again in `store` (default: the one it was trained on), say how blurred a face may be and
    calibrate and judge the int8 network; without them the sharpness limit stays open, which model.json says, and
    `int8` is refused. evaluation: folder of an evaluation whose figures the model card shows. Raises TrainingError for
    a model that cannot be exported, a missing extra, an `out` that is not empty, or scores that differ from torch's.
    """
    net, card = load_model(model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out}: not an empty folder; an export never mixes with another one, choose a new one")
    judged = None if evaluation is None else read_evaluation(evaluation)
    if judged and judged.model["sha256"] != card["weights"]["sha256"]:
        raise TrainingError(f"{evaluation}: an evaluation of other weights; run `pseudodepth evaluate` again")
    dev, missing = _dev_crops(card, store, model)
    if int8 and dev is None:
        raise TrainingError(f"int8 needs the dev samples that set its thresholds: {missing}. Name their store: --store")
    import_onnx()
    targets = targets_of(card)
    graph = ScoredGraph(net, int(card["input"]["size"]), targets.frames)
    pixels = draw_golden(graph)[None]  # (1, S, S, 3) or (1, T, S, S, 3)
    golden = golden_png(pixels[0])
    shipped = Card(
        name=name or model.resolve().name,
        method=card["method"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        crop=_crop_rule(card, dev, model),
        input=_input_rule(graph, targets),
        networks={},
        sharpness=dev.sharpness_limit() if dev else Sharpness(least=None, source=f"not known: {missing}"),
        golden=Golden(
            file="golden.png",
            sha256=hashlib.sha256(golden).hexdigest(),
            score_bgr=float(graph.score_crops(pixels[..., ::-1])[0]),
        ),
        licence=Licence(code="MIT", weights=weights_licence, data=dev.datasets if dev else ["unknown"]),
        training=_lineage(card, dev),
    )
    prepare_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
        part = Path(work) / "model"
        part.mkdir()
        (part / "golden.png").write_bytes(golden)
        sha256 = write_onnx(graph, part / "model.onnx", shipped)
        exact = Network(
            file="model.onnx",
            sha256=sha256,
            golden_score=float(graph.score_crops(pixels)[0]),
            tolerance=GOLDEN_TOLERANCE,
            thresholds=_thresholds(card),
        )
        shipped = _save(part, shipped, {"fp32": exact})
        loaded = LivenessModel(part)
        _check_parity(loaded, graph, pixels, dev)
        if int8 and dev is not None:
            shipped = _save(part, shipped, {"fp32": exact, "int8": quantise(part, shipped, loaded, dev)})
            LivenessModel(part, "int8")
        (part / "README.md").write_text(model_card(shipped, judged), encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.rename(part, out)
    return out


def _save(folder: Path, card: Card, networks: Mapping[Precision, Network]) -> Card:
    whole = card.model_copy(update={"networks": dict(networks)})
    (folder / FILE).write_text(whole.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return whole


def _thresholds(card: Mapping[str, Any]) -> dict[str, FrozenThreshold]:
    named = {"eer": card["threshold"], **card.get("thresholds", {})}
    fields = FrozenThreshold.model_fields
    return {n: FrozenThreshold(**{f: t[f] for f in fields if f in t}) for n, t in named.items()}


def _dev_crops(card: Mapping[str, Any], store: str | None, model: Path) -> tuple[DevCrops | None, str]:
    """The dev samples of the training, or why they cannot be had; a store that is asked for must have them."""
    where = store or f"{card['store']['path']}@{card['store']['snapshot']}"
    try:
        return DevCrops.find(DepthDataset(where), card), ""
    except (StoreError, TrainingError) as error:
        if store is not None:
            raise TrainingError(f"{model}: {error}") from error
        return None, str(error)


def _input_rule(graph: ScoredGraph, targets: Targets) -> InputRule:
    if targets.frames == 1:
        return InputRule(size=graph.size)
    return InputRule(size=graph.size, clip=ClipRule(frames=targets.frames, interval=targets.interval), layout="NTCHW")


def _crop_rule(card: Mapping[str, Any], dev: DevCrops | None, model: Path) -> CropRule:
    build = card["input"]["crop"]
    try:
        detect, view = build["detect"], build["view"]
        return CropRule(
            detector=detect["detector"],
            detector_sha256=dev.detector_sha256 if dev else "",
            min_score=detect["min_score"],
            max_side=detect["max_side"],
            min_face=detect["min_size"],
            margin=view["margin"],
            size=view["size"],
        )
    except (KeyError, TypeError) as error:
        raise TrainingError(
            f"{model}: its store has no build settings ({error!r} is missing), so nobody can cut faces as it was "
            "trained on; train on a store that `pseudodepth build` made"
        ) from error


def _lineage(card: Mapping[str, Any], dev: DevCrops | None) -> dict[str, Any]:
    """Where the weights come from; counts of people, never their names."""
    split = card["split"]
    counts = {side: {"subjects": len(split[f"{side}_subjects"]), "samples": split[f"{side}_samples"]} for side in
              ("train", "dev")}  # fmt: skip
    return {
        "weights_sha256": card["weights"]["sha256"],
        "parameters": card["weights"]["parameters"],
        "store": {"snapshot": card["store"]["snapshot"], "lineage": dev.lineage if dev else None},
        "build": card["input"]["crop"],
        "split": {"dev_is": split["dev_is"], **counts},
        "run": card["training"],
    }


def _check_parity(loaded: LivenessModel, graph: ScoredGraph, golden: NDArray[np.uint8], dev: DevCrops | None) -> None:
    """Torch and onnxruntime on the golden picture or clip, on noise in batches of 1 and 3, and on dev crops."""
    noise = np.random.default_rng(0).integers(0, 256, (3, *golden.shape[1:])).astype(np.uint8)
    allowed = graph.network.parity
    cases = {"the golden picture": golden, "noise": noise, "one picture": noise[:1]}
    if dev is not None:
        cases["dev crops"] = dev.some(16)
    for what, crops in cases.items():
        difference = float(np.abs(loaded.score(crops) - graph.score_crops(crops)).max())
        if not difference <= allowed:
            raise TrainingError(
                f"the exported graph's scores differ from torch's by {difference:.2g} on {what} (at most {allowed:g}); "
                f"nothing was written. torch {torch.__version__} and this onnxruntime do not agree on this network"
            )
