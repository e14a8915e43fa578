"""The pictures of a report: crops, stored depth and generated depth, each in a data URI."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from storage.dataset import DepthDataset
from training import metrics
from training.checkpoint import load_model
from training.scoring import feed_of
from training.splits import Rows

SHOWN = 160  # px a side: sharp at the size it is shown on a dense screen


@dataclass(frozen=True)
class Picture:
    """One column of a strip: what it is, and its pictures as data URIs ("" where there is none)."""

    name: str
    live: bool
    image: str
    depth: str
    generated: str = ""
    score: float | None = None


def choose(data: DepthDataset, rows: Rows, count: int, seed: int = 0) -> Rows:
    """About `count` of rows, half live, the rest shared out among the attacks; of different subjects if possible."""
    label = data.table.column("label").to_numpy()[rows]
    attack = np.array(data.table.column("attack").take(rows).to_pylist(), np.str_)
    groups = [rows[label == 0]] + [rows[(label == 1) & (attack == a)] for a in sorted(set(attack[label == 1]))]
    shares = [count // 2] + [max(1, (count - count // 2) // max(1, len(groups) - 1))] * (len(groups) - 1)
    picked = [_spread(data, group, share, seed) for group, share in zip(groups, shares, strict=True) if len(group)]
    return np.concatenate(picked)


def stored(data: DepthDataset, rows: Rows) -> list[Picture]:
    """Crops with the depth maps that the store holds."""
    return [_picture(data, int(row)) for row in rows]


def generated(data: DepthDataset, rows: Rows, pretrained: Path) -> list[Picture]:
    """The same with the depth that the pre-trained generator draws (PDGAN's figure 4: input, target, generated)."""
    maps = drawn_depth(data, rows, pretrained)
    return [_picture(data, int(row), drawn) for row, drawn in zip(rows, maps, strict=True)]


def drawn_depth(data: DepthDataset, rows: Rows, pretrained: Path) -> NDArray[np.float32]:
    """(len(rows), d, d) float32 in [0, 1]: the depth that the generator in a folder of `pretrain` draws."""
    net, card = load_model(pretrained)
    feed = feed_of(card, data, batch=16, device=torch.device("cpu"))
    with torch.no_grad():
        return np.concatenate([net(batch.image)[:, 0].numpy() for batch in feed.plain(rows)])


def hardest(data: DepthDataset, scores: metrics.Scores, count: int) -> list[Picture]:
    """The lowest scored live samples and the highest scored attacks (PDGAN's figure 6)."""
    order = np.argsort(scores.score, kind="stable")
    live, spoof = order[scores.label[order] == 0][:count], order[scores.label[order] == 1][::-1][:count]
    place = {sample: i for i, sample in enumerate(data.table.column("sample_id").to_pylist())}
    return [
        _picture(data, place[str(scores.sample_id[i])], score=float(scores.score[i]))
        for i in np.concatenate([live, spoof])
    ]


def _spread(data: DepthDataset, rows: Rows, count: int, seed: int) -> Rows:
    rows = np.random.default_rng(seed).permutation(rows)
    seen: dict[str, int] = {}
    turn = []
    for subject in data.table.column("subject").take(rows).to_pylist():
        turn.append(seen.get(subject, 0))
        seen[subject] = turn[-1] + 1
    return rows[np.argsort(turn, kind="stable")][:count]  # everybody once before anybody twice


def _picture(
    data: DepthDataset, row: int, drawn: NDArray[np.float32] | None = None, score: float | None = None
) -> Picture:
    item = data[row]
    label, attack = int(item["label"]), data.table.column("attack")[row].as_py()
    return Picture(
        name="live" if label == 0 else attack or "spoof",
        live=label == 0,
        image=_uri(item["image"].permute(1, 2, 0).numpy(), "JPEG"),
        depth=_depth_uri(item["depth"][0].numpy()),
        generated="" if drawn is None else _depth_uri(drawn),
        score=score,
    )


def _depth_uri(depth: NDArray[np.float32]) -> str:
    return _uri((colormaps["magma"](np.clip(depth, 0, 1))[..., :3] * 255).round().astype(np.uint8), "PNG")


def _uri(pixels: NDArray[np.uint8], kind: str) -> str:
    image = Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, kind, quality=88, optimize=True)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode()
