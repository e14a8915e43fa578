"""A small real store whose spoofs can be told from its live samples, and a model trained from it once."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from storage.config import StoreConfig
from storage.schema import LIVE, SPOOF, Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from training.evaluate import evaluate
from training.finetune import FinetuneConfig, finetune
from training.methods.pdgan import PDGANConfig
from training.pretrain import PretrainConfig, pretrain

SIZE = 64
FAST_PDGAN = PDGANConfig(depth_size=32, warmup_epochs=2, adversarial_epochs=1, critic_every=2, generator_lr=2e-3)
FAST = {"batch": 16, "input_size": SIZE, "device": "cpu"}


def face(rng: np.random.Generator, *, attack: str, size: int = SIZE) -> Sample:
    """A shaded ball on a plain ground; a print has a paper border, a replay a grid of bright lines."""
    y, x = np.mgrid[0:size, 0:size] / size
    cx, cy, r = *rng.uniform(0.42, 0.58, 2), rng.uniform(0.28, 0.38)
    height = np.sqrt(np.clip(1 - ((x - cx) / r) ** 2 - ((y - cy) / (r * 1.25)) ** 2, 0, None))
    skin = np.array([0.85, 0.65, 0.55]) * rng.uniform(0.5, 1)
    ground = rng.uniform(0.1, 0.6, 3)
    image = np.where(height[..., None] > 0, (0.35 + 0.65 * height[..., None]) * skin, ground)
    if attack == "print":
        edge = np.minimum.reduce([x, y, 1 - x, 1 - y]) < 0.08
        image = np.where(edge[..., None], 0.95, image)
    if attack == "replay":
        lines = (np.arange(size) % 4 == 0)[:, None, None] * 0.35
        image = image + lines
    image = np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1)
    depth = None if attack else np.where(height > 0, 1 + 254 * height, 0).astype(np.uint8)
    return Sample((image * 255).astype(np.uint8), depth, {})


def row(i: int, *, split: str, subject: str, attack: str, view: int = 0) -> dict:
    return {
        "dataset": "balls",
        "path": f"{split}/{subject}/{i}.png",
        "frame": 0,
        "view": view,
        "split": split,
        "subject": subject and f"balls/{subject}",
        "session": "",
        "label": SPOOF if attack else LIVE,
        "attack": attack,
        "attack_detail": "",
        "box": [0.0, 0.0, 1.0, 1.0],
        "box_source": "given",
        "score": 1.0,
        "points": None,
        "crop": [1.0, 0, 0, 0, 1, 0],
        "confidence": float("nan") if attack else 0.9,
        "source_size": 1,
        "source_mtime_ns": 1,
        "extra": "{}",
    }


def build_store(folder: Path, people: dict[str, list[str]], *, each: int = 16, views: int = 1) -> Path:
    """people: split -> subjects; every subject has half live samples, the rest print and replay in turn."""
    with shard_writer(str(folder), "only", StoreConfig(), {}) as writer:
        for split, subjects in people.items():
            for subject in subjects:
                for i in range(each):
                    attack = "" if i % 2 == 0 else ("print", "replay")[i // 2 % 2]
                    for view in range(views):
                        rng = np.random.default_rng([len(subject), sum(subject.encode()), i, view])
                        sample = face(rng, attack=attack)
                        columns = row(i, split=split, subject=subject, attack=attack, view=view)
                        writer.write([Sample(sample.image, sample.depth, columns)])
    Store(str(folder)).commit([writer.info], parent=None, config={"size": SIZE}, lineage={"made": "by a test"})
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    people = {"train": [f"s{i}" for i in range(10)], "test": [f"t{i}" for i in range(4)]}
    return build_store(tmp_path_factory.mktemp("balls"), people)


@pytest.fixture(scope="session")
def trained(store, tmp_path_factory) -> SimpleNamespace:
    """pretrain -> finetune -> evaluate, once."""
    folder = tmp_path_factory.mktemp("trained")
    calls: list[tuple[str, int, int, dict]] = []
    pretrained = pretrain(
        str(store), folder / "pre", PretrainConfig(pdgan=FAST_PDGAN, **FAST), lambda *call: calls.append(call)
    )
    model = finetune(str(store), folder / "model", FinetuneConfig(encoder=pretrained, epochs=6, **FAST))
    evaluation = evaluate(str(store), model, folder / "eval")
    return SimpleNamespace(store=store, pretrained=pretrained, model=model, evaluation=evaluation, calls=calls)
