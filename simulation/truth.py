"""How far a store's pseudo-depth is from the exact depth that the renderer wrote beside a simulated dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulation.layout import truth_path
from storage.snapshot import Snapshot, open_snapshot
from tasks.errors import BuildError
from tasks.warp import apply_affine, invert_affine

_MIN_COMMON = 64  # px; fewer say nothing about a face


@dataclass(frozen=True)
class DepthError:
    """Error of plain live crops, one figure a sample; the means, medians and 95th percentiles are over samples.

    mae: mean |label - truth| over the pixels that both cover, each min-max normalised over those pixels, in [0, 1].
    coverage: intersection over union of the two masks. `missing` samples have no truth or hardly a pixel in common.
    """

    samples: int
    missing: int
    mae_mean: float
    mae_median: float
    mae_p95: float
    coverage_mean: float

    def rows(self) -> dict[str, str]:
        """Names and figures for a table."""
        return {
            "live samples compared": f"{self.samples:,} ({self.missing} without a truth to compare)",
            "mean absolute error, normalised depth": f"{self.mae_mean:.4f}",
            "median and 95th percentile of it": f"{self.mae_median:.4f}, {self.mae_p95:.4f}",
            "coverage, intersection over union": f"{self.coverage_mean:.4f}",
        }


def depth_error(store: str | Snapshot, dataset: Path) -> DepthError:
    """Compare the plain live crops (view 0) of `store` with the truth of the simulated dataset they were made from.

    Raises BuildError if `dataset` holds no truth or none of the store's samples has one.
    """
    if not (dataset / "truth").is_dir():
        raise BuildError(f"{dataset}: no folder truth/ in it; only datasets made by `pseudodepth simulate` have one")
    snapshot = store if isinstance(store, Snapshot) else open_snapshot(store)
    errors: list[float] = []
    coverages: list[float] = []
    missing = 0
    for shard in snapshot.shards:
        reader = snapshot.open(shard)
        table = reader.columns(["path", "label", "view", "crop"])
        plain_live = (table["label"].to_numpy() == 0) & (table["view"].to_numpy() == 0)
        paths, crops = table["path"].to_pylist(), table["crop"].to_pylist()
        for row in np.flatnonzero(plain_live):
            file = truth_path(dataset, paths[row])
            if not file.is_file():
                missing += 1
                continue
            with np.load(file, allow_pickle=False) as saved:
                truth = saved["depth"].astype(np.float64)
            label = reader.read([int(row)])[1][0].astype(np.float64)
            error, coverage = compare(label, in_crop(truth, np.reshape(crops[row], (2, 3)), len(label)))
            coverages.append(coverage)
            if np.isfinite(error):
                errors.append(error)
            else:
                missing += 1
    if not errors:
        raise BuildError(f"{dataset}: no live sample of the store has its truth there; is it another dataset?")
    return DepthError(
        samples=len(errors),
        missing=missing,
        mae_mean=float(np.mean(errors)),
        mae_median=float(np.median(errors)),
        mae_p95=float(np.percentile(errors, 95)),
        coverage_mean=float(np.mean(coverages)),
    )


def in_crop(truth: NDArray[np.float64], affine: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Truth (h, w) of a picture seen through a crop's affine (2, 3): (size, size), 0 where it covers no whole pixel."""
    from scipy.ndimage import map_coordinates

    y, x = np.mgrid[:size, :size]
    source = apply_affine(invert_affine(affine), np.column_stack([x.ravel(), y.ravel()]).astype(np.float64))
    where = source[:, ::-1].T  # (2, size * size) rows, columns
    covered = map_coordinates((truth > 0).astype(np.float64), where, order=1) > 0.999
    return np.where(covered, map_coordinates(truth, where, order=1), 0.0).reshape(size, size)


def compare(label: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Mean absolute error over the common pixels, both normalised there, and the masks' intersection over union.

    The error is NaN where the two have fewer than 64 pixels in common.
    """
    both, either = (label > 0) & (truth > 0), (label > 0) | (truth > 0)
    coverage = float(both.sum() / max(1, either.sum()))
    if both.sum() < _MIN_COMMON:
        return float("nan"), coverage
    normal = [(depth[both] - depth[both].min()) / max(np.ptp(depth[both]), 1e-9) for depth in (label, truth)]
    return float(np.abs(normal[0] - normal[1]).mean()), coverage
