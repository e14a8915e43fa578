"""What a model file says of itself, beside its weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from storage.dataset import DepthDataset
from training import metrics
from training.methods import Method, Targets
from training.splits import Split


def lineage(data: DepthDataset, split: Split) -> dict[str, Any]:
    """What was trained on: the store's snapshot, and who was on which side."""
    return {
        "store": {"path": str(data.snapshot.root), "snapshot": data.snapshot.number},
        "split": {
            "protocol": split.protocol,
            "dev_is": split.rule,
            "train_samples": len(split.train),
            "dev_samples": len(split.dev),
            "outside_clips": split.outside_clips,
            "train_subjects": split.train_subjects,
            "dev_subjects": split.dev_subjects,
        },
    }


def model_card(
    method: Method[Any],
    arguments: dict[str, Any],
    data: DepthDataset,
    targets: Targets,
    input_size: int,
    scores: metrics.Scores,
) -> dict[str, Any]:
    """What model.json says of input, output and thresholds (scores: of dev); all but where it came from."""
    threshold = metrics.eer_threshold(scores)
    return {
        "method": method.name,
        "network": arguments,
        "input": {
            "size": input_size,
            "colour": "RGB",
            "layout": "NCHW",
            "range": [0, 1],
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "frames": targets.frames,
            "interval": targets.interval,
            "mask": targets.depth_size if targets.mask else None,  # side of the masks it scores with
            "crop": data.snapshot.config,  # the store's build settings: detector, margin, size, ...
        },
        "output": {"name": "score", "meaning": "higher = more live", "positive_class": "live"},
        "threshold": {
            **asdict(threshold),
            "accept": "score >= value",
            "live": len(scores.live),
            "spoof": len(scores.spoof),
            "per_attack": {attack: len(scores.species(attack)) for attack in scores.attacks},
            "dev_eer": metrics.equal_error_rate(scores),
            "dev_auc": metrics.auc(scores),
        },
        "thresholds": {name: asdict(other) for name, other in metrics.dev_thresholds(scores).items()},
    }
