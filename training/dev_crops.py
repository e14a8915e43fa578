"""The dev samples of a trained model, found again in a store: for what an export measures on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveness.card import Sharpness
from liveness.sharpness import sharpness
from storage.dataset import DepthDataset
from training.clips import clips_by_row, split_of_clips
from training.errors import TrainingError
from training.metrics import Scores
from training.scoring import targets_of
from training.splits import Rows, split_train_dev

BATCH = 64  # crops, in clips or not
SHIPPED_LINEAGE = ("config_digest", "models")
LEAST_QUANTILE = 0.01  # of the live dev crops' sharpness; half of it is where a face counts as blurred


@dataclass(frozen=True)
class DevCrops:
    """Rows of a store that set a model's threshold; of a model of clips each row is the last of its clip.

    clips: (len(rows), T) rows of the frames; T is 1 for a model of single frames.
    """

    data: DepthDataset
    rows: Rows
    clips: NDArray[np.int64]

    @classmethod
    def find(cls, data: DepthDataset, card: Mapping[str, Any]) -> DevCrops:
        """Split the store as the training did; raises TrainingError if that does not give the same samples."""
        config = card["training"]["config"]
        split = split_train_dev(
            data.table, seed=config["seed"], dev_share=config["dev_share"], protocol=config.get("protocol")
        )
        targets = targets_of(card)
        split = split_of_clips(split, data.table, targets)
        found = cls(data, split.dev, clips_by_row(data.table, targets)[split.dev])
        if found.scores(np.zeros(len(split.dev))).digest() != card["threshold"]["digest"]:
            raise TrainingError(
                f"{data.snapshot.root}, snapshot {data.snapshot.number}: its dev samples are not those that set the "
                "model's threshold; name the snapshot it was trained on as STORE@N"
            )
        return found

    @property
    def lineage(self) -> dict[str, Any]:
        """What the store was made with. A snapshot also lists its people, machines and roots: these are not shipped."""
        return {key: self.data.snapshot.lineage[key] for key in SHIPPED_LINEAGE if key in self.data.snapshot.lineage}

    @property
    def detector_sha256(self) -> str:
        """Of the weights of the detector that cut the crops; "" where none did."""
        return str(self.data.snapshot.lineage.get("models", {}).get("detector", {}).get("weights_sha256", ""))

    @property
    def datasets(self) -> list[str]:
        """The datasets in the store."""
        return sorted(set(self.data.table.column("dataset").to_pylist()))

    def scores(self, score: NDArray[np.float64]) -> Scores:
        """Scores of these samples, with their labels and attacks."""
        part = self.data.table.select(["label", "attack", "sample_id"]).take(self.rows)
        label, attack, ids = (part.column(c).to_numpy(zero_copy_only=False) for c in part.column_names)
        return Scores.of("dev", score, label, attack, ids)

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """All crops in order, (b, S, S, 3) uint8 RGB, or clips, (b, T, S, S, 3)."""
        step = max(1, BATCH // self.clips.shape[1])
        for start in range(0, len(self.clips), step):
            yield self._read(self.clips[start : start + step])

    def some(self, count: int, seed: int = 0) -> NDArray[np.uint8]:
        """(up to count, S, S, 3): some of them, live and spoof alike; of clips as many as have `count` frames."""
        count = max(2, count // self.clips.shape[1])
        label = self.data.table.column("label").to_numpy()[self.rows]
        order = np.random.default_rng(seed).permutation(len(self.rows))
        each = [order[label[order] == value][: (count + 1) // 2] for value in (0, 1)]
        return self._read(self.clips[np.sort(np.concatenate(each))])

    def sharpness_limit(self) -> Sharpness:
        """Half of what all but one in a hundred live dev crops reach: blurred beyond anything it has learned from."""
        label = self.data.table.column("label").to_numpy()[self.rows]
        measured = np.array([sharpness(crop) for batch in self.batches() for crop in batch])[label == 0]
        least = float(np.quantile(measured, LEAST_QUANTILE)) / 2
        source = f"half of the {LEAST_QUANTILE:.0%} quantile of {len(measured)} live dev crops"
        return Sharpness(least=least, source=source)

    def _read(self, clips: NDArray[np.int64]) -> NDArray[np.uint8]:
        items = self.data.__getitems__(clips.reshape(-1).tolist())
        crops = np.stack([item["image"].permute(1, 2, 0).numpy() for item in items])
        return crops if clips.shape[1] == 1 else crops.reshape(*clips.shape, *crops.shape[1:])
