"""prnet-train: a PRNet of your own, from your live pictures, with the face mesh as teacher and rendered heads as truth.

    pseudodepth prnet train --photos portraits --out runs/prnet
    prefect deployment run prnet-train/prnet-train -p photos=... -p out=...

Pictures -> pools of faces -> training -> weights -> figures on people who were held out. What is finished is kept in
`out`: a run that was interrupted goes on where it was.
"""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.prnet_evaluate import Judgement, judge
from flows.prnet_faces import (
    FacesConfig,
    Pools,
    face_mesh,
    is_held_out,
    live_pictures,
    processes,
    write_pools,
)
from flows.progress import progress_line
from flows.settings import settings
from flows.source import Source
from prnet.model import PRNet
from prnet.train.evaluate import Figures
from prnet.train.faces import Faces, shuffled
from prnet.train.loop import Source as FaceSource
from prnet.train.loop import TrainConfig, fit
from prnet.weights_file import write_weights
from simulation.heads import heads
from tasks.errors import BuildError
from tasks.teacher import Picture

LICENCE = (
    "Trained with `pseudodepth prnet train` from pictures of the user's own, with the face mesh of Google's face "
    "landmarker (Apache-2.0) as teacher and rendered heads; no weights or data of the published PRNet are in it."
)


@dataclass(frozen=True)
class PrnetTraining:
    """What a training made: the weights file; errors of the network and of the face mesh on the same held-out faces."""

    weights: str
    figures: list[Figures]
    facemesh: list[Figures]
    rejected: dict[str, int]


@flow(name="prnet-train", flow_run_name="prnet-train {out}", persist_result=False)
def prnet_train(
    out: str,
    photos: str | None = None,
    sources: list[Source] | None = None,
    config: TrainConfig | None = None,
    faces: FacesConfig | None = None,
    workers: int | None = None,
) -> PrnetTraining:
    """Train PRNet on your own live pictures.

    Args:
        out: folder of the run: `prnet.safetensors`, `evaluation.json`, and what is needed to go on.
        photos: folder of live pictures, one person a file.
        sources: datasets; their live media are used.
        config: the network and its training.
        faces: what it learns from.
        workers: processes that find and render faces.
    """
    config, faces, folder = config or TrainConfig(), faces or FacesConfig(), Path(out)
    datasets = [(source.name, source.root) for source in sources or []]
    pictures = live_pictures(Path(photos) if photos else None, datasets)
    workers = workers or settings().workers
    made = make_pools(folder, pictures, config, faces, workers)
    with ExitStack() as stack:
        run_sources = training_sources(folder, made.photos, config, faces, workers, stack)
        weights = train(folder, run_sources, config, sorted(made.rejected.items()), len(pictures))
    judged = judge_weights(folder, weights)
    result = PrnetTraining(str(weights), judged.figures, judged.facemesh, dict(made.rejected))
    (folder / "evaluation.json").write_text(json.dumps(asdict(result), indent=1))
    return result


@task(name="make-face-pools", cache_policy=NO_CACHE)
def make_pools(folder: Path, pictures: list[Picture], config: TrainConfig, faces: FacesConfig, workers: int) -> Pools:
    """The four pools in `folder`, {taught,rendered}-{train,held}; the portraits are those to train on."""
    rejected, photos = Counter[str](), []
    with processes(workers) as run:
        for part in ("held", "train"):
            mine = [p for p in pictures if is_held_out(p.subject, faces.held_out) == (part == "held")]
            if not mine:
                raise BuildError(
                    f"{len(pictures)} live pictures leave nobody for the {part} part when a share of {faces.held_out} "
                    "of the people is held out; give more people"
                )
            pools = write_pools(folder, part, mine, config.size, faces, config.seed, run)
            rejected += pools.rejected
            photos = pools.photos
    return Pools(photos, rejected)


def training_sources(
    folder: Path,
    photos: list[tuple[Path, str]],
    config: TrainConfig,
    faces: FacesConfig,
    workers: int,
    stack: ExitStack,
) -> list[tuple[FaceSource, int]]:
    """Where the faces of a batch come from, and how many from each."""
    rendered = round(faces.head_share * config.batch)
    counts = []
    if taught := config.batch - rendered:
        counts.append((_of_pool(folder / "taught-train", config.seed), taught))
    if rendered and faces.heads:
        counts.append((_of_pool(folder / "rendered-train", config.seed + 1), rendered))
    elif rendered:
        run = stack.enter_context(processes(workers))
        counts.append((lambda start: heads(photos, config.size, config.seed, start, run), rendered))
    return counts


def _of_pool(folder: Path, seed: int) -> FaceSource:
    pool = Faces([folder])
    return lambda start: shuffled(pool, np.arange(len(pool)), seed, start)


@task(name="train-prnet", cache_policy=NO_CACHE)
def train(
    folder: Path,
    sources: list[tuple[FaceSource, int]],
    config: TrainConfig,
    rejected: list[tuple[str, int]],
    pictures: int,
) -> Path:
    """Train or go on training; the averaged weights as `prnet.safetensors`."""
    with progress_line("train", config.steps, "steps") as advance:
        seen = 0

        def progress(step: int, total: int, figures: dict[str, float]) -> None:
            nonlocal seen
            advance(step - seen, "  ".join(f"{name} {value:.3f}" for name, value in figures.items()))
            seen = step

        trainer = fit(face_mesh(), sources, folder, config, progress=progress)
    about = {
        "source": "pseudodepth prnet train",
        "licence": LICENCE,
        "trained": {"pictures": pictures, "left_out": dict(rejected), **config.model_dump(mode="json")},
    }
    path = folder / "prnet.safetensors"
    write_weights(path, trainer.average, trainer.grid.layout, about)
    return path


@task(name="judge-prnet", cache_policy=NO_CACHE)
def judge_weights(folder: Path, weights: Path) -> Judgement:
    """Errors of the network at `weights` on the held-out pools of `folder`."""
    return judge(folder, PRNet.load(weights))
