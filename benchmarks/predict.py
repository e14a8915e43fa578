"""What one face costs a shipped model: CPU milliseconds of each step on one thread, float and int8.

    python benchmarks/predict.py SHIPPED_MODEL [--pictures FOLDER] [--repeat 50]

CPU time (user and system) of this process, so that other programs on the machine count little. The budget of the PDGAN
classifier at 224 x 224 is 5 ms a face; the step `score` is what it is held against, exit code 1 when it is missed.
Without --pictures the two photographs inside scikit-image and matplotlib are used.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# before this folder, whose prnet.py would hide the package
sys.path.insert(0, str(Path(__file__).parents[1]))

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from flows.predictor import Predictor
from liveness.sharpness import sharpness
from simulation.packaged import packaged_photographs
from tasks.read import ReadConfig, read_frames

BUDGET_MS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--repeat", type=int, default=50)
    arguments = parser.parse_args()
    paths = packaged_photographs()
    if arguments.pictures:
        paths = sorted(p for p in arguments.pictures.iterdir() if p.suffix in {".jpg", ".png"})[:8]
    frames = [next(iter(read_frames(path, "image", ReadConfig())))[1] for path in paths]
    frames = [np.asarray(Image.fromarray(frame).resize((640, 480))) for frame in frames]
    predictor = Predictor(arguments.model, min_sharpness=0)
    faces = predictor.find(frames)
    found = [(frame, face) for frame, face in zip(frames, faces, strict=True) if not isinstance(face, str)]
    if not found:
        sys.exit("no face in any of the pictures: nothing to measure")
    crops = [predictor.crop(frame, face.box)[None] for frame, face in found]
    steps: dict[str, Callable[[int], object]] = {
        "detect, 640 x 480": lambda i: predictor.find([found[i % len(found)][0]]),
        "crop": lambda i: predictor.crop(found[i % len(found)][0], found[i % len(found)][1].box),
        "sharpness": lambda i: sharpness(crops[i % len(found)][0]),
        "score": lambda i: predictor.model.score(crops[i % len(found)]),
        "whole frame": lambda i: predictor.score([found[i % len(found)][0]]),
    }
    if "int8" in predictor.card.networks:
        small = Predictor(arguments.model, precision="int8", min_sharpness=0)
        steps["score, int8"] = lambda i: small.model.score(crops[i % len(found)])
    print(f"{predictor.card.name}: {predictor.card.method}, {predictor.card.input.size} px, CPU ms on one thread")
    figures = {name: cpu_ms(step, arguments.repeat) for name, step in steps.items()}
    for name, (median, best) in figures.items():
        print(f"  {name:20} median {median:7.2f}   least {best:7.2f}")
    met = figures["score"][0] <= BUDGET_MS
    print(f"score within {BUDGET_MS:g} ms: {'yes' if met else 'NO'}")
    return 0 if met else 1


def cpu_ms(step: Callable[[int], object], repeat: int) -> tuple[float, float]:
    """Median and least CPU time of one call, ms."""
    step(0)
    spent = []
    for i in range(repeat):
        started = time.process_time()
        step(i)
        spent.append((time.process_time() - started) * 1000)
    return float(np.median(spent)), min(spent)


if __name__ == "__main__":
    sys.exit(main())
