"""How fast a trainer is fed: pairs a second from a store to augmented batches, and what each part costs.

python benchmarks/feed.py [--samples 2000] [--kornia]

CPU time (user + system, all threads) first, so that a busy machine does not decide: `pairs/s on 2 cores` is two cores'
worth of it, `now` is by the clock. `plain DataLoader` reads the same samples by torch's loader (2 workers) and augments
them with torch's operators.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.schema import Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from training.augment import AugmentConfig, ColourConfig, GeometryConfig, SpoofConfig, apply, apply_torch, recipe
from training.feed import Feed
from training.methods import Targets
from training.splits import BalancedSampler, groups_of

SIDE, BATCH = 224, 32
BAR = 2_000  # pairs/s, two cores' worth of CPU
CASES = {
    "colour (default)": AugmentConfig(),
    "nothing": AugmentConfig(colour=None),
    "colour, spoof simulation": AugmentConfig(spoof=SpoofConfig()),
    "colour, geometry": AugmentConfig(geometry=GeometryConfig()),
}


def build(folder: Path, samples: int) -> DepthDataset:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    depth = (255 * np.clip(1 - 4 * (x**2 + y**2), 0, 1)).astype(np.uint8)
    with shard_writer(str(folder), "only", StoreConfig(), {}) as writer:
        for i in range(samples):
            attack = "print" if i % 2 else ""
            columns = {
                **{"dataset": "bench", "path": f"{i}.png", "frame": 0, "view": 0, "split": "train", "subject": str(i)},
                **{"session": "", "label": i % 2, "attack": attack, "attack_detail": "", "box": [0.0, 0.0, 1.0, 1.0]},
                **{"box_source": "given", "score": 1.0, "points": None, "crop": [1.0, 0, 0, 0, 1, 0]},
                **{"confidence": 0.9, "source_size": 1, "source_mtime_ns": 1, "extra": "{}"},
            }
            image = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            writer.write([Sample(image, None if attack else depth, columns)])
    Store(str(folder)).commit([writer.info], parent=None, config={}, lineage={})
    return DepthDataset(str(folder))


def cpu() -> float:
    own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(name: str, work: Callable[[], int], times: int = 3) -> float:
    """CPU microseconds a sample, the best of `times`; prints a line."""
    work()
    best, wall = np.inf, np.inf
    for _ in range(times):
        began, clock = cpu(), time.perf_counter()
        n = work()
        best, wall = min(best, (cpu() - began) / n), min(wall, (time.perf_counter() - clock) / n)
    print(
        f"{name:46s} {best * 1e6:7.0f} us CPU a pair   {2 / best:7.0f} pairs/s on 2 cores   {1 / wall:7.0f} pairs/s now"
    )
    return best


def feeding(data: DepthDataset, config: AugmentConfig, depth_size: int) -> Callable[[], int]:
    targets = Targets(depth_size=depth_size)
    feed = Feed(data, input_size=SIDE, targets=targets, batch=BATCH, device=torch.device("cpu"))
    sampler = BalancedSampler(groups_of(data.table, np.arange(len(data)), "class-domain"), 0)

    def work() -> int:
        return sum(len(b.label) for b in feed.train(sampler, range(len(data) // BATCH), config, 0))

    return work


def torch_loader(data: DepthDataset, config: AugmentConfig) -> Callable[[], int]:
    """What one would write without any of this: DataLoader, and torch's operators on each batch."""
    keys = np.arange(len(data), dtype=np.uint64)

    def work() -> int:
        n = 0
        for items in torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=2):
            label = items["label"].numpy()
            apply_torch(items["image"], recipe(config, 0, 0, keys[items["index"].numpy()], label, SIDE))
            torch.nn.functional.interpolate(items["depth"], (56, 56), mode="area")
            n += len(label)
        return n

    return work


def kernels(config: AugmentConfig, run: Callable[..., torch.Tensor]) -> Callable[[], int]:
    pixels = torch.randint(0, 256, (BATCH, SIDE, SIDE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    plan = recipe(config, 0, 0, np.arange(BATCH, dtype=np.uint64), np.zeros(BATCH, np.int64), SIDE)

    def work() -> int:
        for _ in range(4):
            run(pixels, plan)
        return 4 * BATCH

    return work


def kornia_jiggle(geometry: bool) -> Callable[[], int]:
    from kornia import augmentation as k

    parts = [k.ColorJiggle(0.25, 0, 0.3, 10 / 360, p=1.0)]
    if geometry:
        parts.append(k.RandomAffine(10, (0.04, 0.04), (0.9, 1.1), p=1.0))
    pipeline = k.AugmentationSequential(*parts)
    pixels = torch.randint(0, 256, (BATCH, SIDE, SIDE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def work() -> int:
        for _ in range(4):
            pipeline(pixels.float().div_(255)).contiguous(memory_format=torch.channels_last)
        return 4 * BATCH

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--kornia", action="store_true", help="measure kornia's operators too; it must be installed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("augmentation alone")
    for name in ("colour (default)", "colour, geometry"):
        measure(f"  {name}, compiled kernel", kernels(CASES[name], apply))
        measure(f"  {name}, torch operators", kernels(CASES[name], apply_torch))
        if options.kornia:
            measure(f"  {name}, kornia", kornia_jiggle("geometry" in name))
    with tempfile.TemporaryDirectory() as folder:
        data = build(Path(folder) / "store", options.samples)
        print(f"store to batches of {BATCH}, {SIDE} px")
        spent = [
            measure(f"  {name}, depth {depth_size}", feeding(data, config, depth_size))
            for name, config in CASES.items()
            for depth_size in (56, 224)
        ]
        measure("  colour (default), plain DataLoader", torch_loader(data, AugmentConfig(colour=ColourConfig())))
    if 2 / max(spent) < BAR:
        sys.exit(f"{2 / max(spent):.0f} pairs/s on 2 cores at worst; the bar is {BAR:,}")


if __name__ == "__main__":
    main()
