"""How far a PRNet's faces are from those of people it never saw: the last step of `prnet train`, and a command."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from flows.prnet_faces import FacesConfig, face_mesh, is_held_out, live_pictures, processes, write_pools
from prnet.errors import WeightsError
from prnet.model import PRNet
from prnet.train.augment import plain_crop
from prnet.train.evaluate import Figures, Predict, evaluate, network_predicts
from prnet.train.faces import Face, Faces, face_square
from prnet.train.uv_grid import UVGrid
from tasks.align import AlignConfig, align
from tasks.aligners import load_aligner
from tasks.aligners.prnet import load_network
from tasks.errors import BuildError
from tasks.warp import apply_affine


@dataclass(frozen=True)
class Judgement:
    """Errors of a network and of the face mesh on the same held-out faces, and pictures left out, by reason."""

    figures: list[Figures]
    facemesh: list[Figures]
    rejected: dict[str, int]


def evaluate_prnet(
    weights: Path | None,
    photos: Path | None,
    sources: Sequence[tuple[str, str]],
    *,
    held_out: float,
    heads: int,
    workers: int,
    seed: int,
) -> Judgement:
    """Judge the network at `weights` (None: the one that comes along) by live pictures.

    As `prnet train` does at its end: by the people that it holds out for the share `held_out` (1: all of them), and by
    `heads` rendered of them (0: none). Raises BuildError if nobody is left, WeightsError for weights that are damaged
    or of another UV layout.
    """
    network = load_network(AlignConfig(aligner="prnet", prnet_weights=weights))
    expected = UVGrid.of_mesh(face_mesh(), network.size).layout.vertex_index
    if not np.array_equal(network.layout.vertex_index, expected):
        raise WeightsError(
            f"{weights}: a UV layout of {len(network.layout.vertex_index):,} vertices, expected the face mesh's of "
            f"{len(expected):,}: only networks of `pseudodepth prnet train` can be judged by its faces"
        )
    faces = FacesConfig(held_heads=heads) if heads else FacesConfig(head_share=0)
    pictures = live_pictures(photos, sources)
    held = [picture for picture in pictures if is_held_out(picture.subject, held_out)]
    if not held:
        raise BuildError(
            f"a share of {held_out} leaves nobody of {len(pictures)} live pictures; --held-out 1 takes all"
        )
    with TemporaryDirectory(prefix="pseudodepth-prnet-") as folder, processes(workers) as run:
        pools = write_pools(Path(folder), "held", held, network.size, faces, seed, run)
        judged = judge(Path(folder), network)
    return replace(judged, rejected=dict(pools.rejected))


def judge(folder: Path, network: PRNet) -> Judgement:
    """Errors of `network`, and of the face mesh, on the held-out pools in `folder`."""
    pools = [path for kind in ("rendered", "taught") if (path := folder / f"{kind}-held").is_dir()]
    held, mesh = Faces(pools), face_mesh()
    mine = evaluate(network_predicts(network, mesh), held, range(len(held)), mesh, network.size)
    # against its own word it would be perfect
    rendered = np.flatnonzero(held.sources == "rendered").tolist()
    predicts = facemesh_predicts(network.size)
    teacher = evaluate(predicts, held, rendered, mesh, network.size) if rendered else []
    return Judgement(mine, teacher, {})


def facemesh_predicts(size: int) -> Predict:
    """The face mesh on windows, its vertices in the plain crop's px."""
    aligner = load_aligner(AlignConfig(aligner="facemesh"))

    def predict(batch: list[Face]) -> NDArray[np.float32]:
        boxes = []
        for face in batch:
            centre, side = face_square(face.vertices)
            boxes.append(np.concatenate([centre - side / 2, centre + side / 2]))
        found = align([face.window for face in batch], np.stack(boxes), [None] * len(batch), aligner)
        plain = plain_crop(len(batch[0].window), size)
        moved = [np.column_stack([apply_affine(plain, f.vertices[:, :2]), f.vertices[:, 2]]) for f in found]
        return np.stack(moved).astype(np.float32)

    return predict
