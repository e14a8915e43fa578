"""The faces that PRNet is trained on: live pictures, taught by the face mesh, and heads rendered from them."""

import hashlib
import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from flows.progress import progress_line
from prnet.train.faces import LIST, Face, write_faces
from prnet.train.uv_grid import MeshUV
from simulation.heads import heads
from simulation.portrait import check_portrait
from tasks.aligners.facemesh import LANDMARKS68, canonical_face
from tasks.errors import BuildError, MediumError
from tasks.sources import scan
from tasks.teacher import Picture, teach

# raise it when the code changes what a pool holds: old pools are then made again
POOL_VERSION = 1
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
Run = Callable[..., Iterator[Any]]


class FacesConfig(BaseModel):
    """Which faces are learned from and which are kept back to judge with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held_out: float = Field(default=0.1, gt=0, lt=1, description="share of the subjects that is never trained on")
    pictures: int = Field(default=50_000, ge=1, description="live pictures for the teacher, at most")
    portraits: int = Field(default=2_000, ge=1, description="live pictures that heads are rendered from, at most")
    heads: int = Field(default=20_000, ge=0, description="rendered heads to train on; 0: new ones for every batch")
    held_heads: int = Field(default=480, ge=8, description="rendered heads to judge with")
    head_share: float = Field(default=0.6, ge=0, le=1, description="of rendered heads in a batch; the rest is taught")


def face_mesh() -> MeshUV:
    """The 468 vertices of the face mesh on their own texture plane: the UV layout of weights trained here."""
    face = canonical_face()
    return MeshUV(face.uv, face.triangles, np.array(LANDMARKS68, np.int64))


def live_pictures(photos: Path | None, sources: Sequence[tuple[str, str]]) -> list[Picture]:
    """Every picture of the folder `photos` (live, one person a file) and every live medium of `sources` (name, root).

    Raises BuildError if there is none.
    """
    pictures = []
    if photos is not None:
        if not photos.is_dir():
            raise BuildError(f"{photos}: no such folder; --photos expects a folder of live pictures, one person a file")
        files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        pictures += [Picture(path, str(path.relative_to(photos).with_suffix(""))) for path in files]
    for name, root in sources:
        if "://" in root:
            raise BuildError(
                f"{name}={root}: PRNet's training reads its pictures many times; copy them to a local disk"
            )
        found = scan(name, root)
        columns = (found.media[column].to_pylist() for column in ("path", "subject", "kind", "label"))
        pictures += [
            Picture(found.root / path, subject or path, kind)
            for path, subject, kind, label in zip(*columns, strict=True)
            if label == 0
        ]
    if not pictures:
        raise BuildError("no live picture to learn from; give --photos FOLDER, or datasets as NAME=ROOT")
    return pictures


def is_held_out(subject: str, share: float) -> bool:
    """Whether a subject is kept back: by its name alone, so that more pictures never move anybody."""
    return int(hashlib.sha256(subject.encode()).hexdigest()[:8], 16) < share * 2**32


def chosen(pictures: Sequence[Picture], most: int, seed: int) -> list[Picture]:
    """At most `most` of the pictures, in their order."""
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[i] for i in np.sort(np.random.default_rng([seed, 8]).choice(len(pictures), most, replace=False))]


def taught_pool(folder: Path, pictures: Sequence[Picture], size: int, run: Run) -> Counter[str]:
    """Write the pool of taught faces, unless it is there; how many pictures were left out, by reason."""
    about = {"kind": "teacher", "size": size, "pictures": _digest(pictures), "version": POOL_VERSION}
    rejected: Counter[str] = Counter()
    reasons = folder.with_suffix(".rejects.json")

    def taught() -> Iterator[Face]:
        with progress_line(f"teach {folder.name}", len(pictures), "pictures") as advance:
            for face, reason in run(_teach, [(picture, size) for picture in pictures]):
                advance(1)
                if face is None:
                    rejected[reason] += 1
                else:
                    yield face
        folder.parent.mkdir(parents=True, exist_ok=True)
        reasons.write_text(json.dumps(rejected, sort_keys=True))

    if not _is_there(folder, about):
        write_faces(folder, taught(), about)
    return Counter(json.loads(reasons.read_text()))


def _teach(job: tuple[Picture, int]) -> tuple[Face | None, str]:
    try:
        return teach(*job), ""
    except MediumError as error:
        return None, error.reason


def portraits(pictures: Sequence[Picture], run: Run) -> list[tuple[Path, str]]:
    """The pictures that heads can be rendered from, with their subjects."""
    images = [picture for picture in pictures if picture.kind == "image"]
    return [
        (picture.path, picture.subject)
        for picture, usable in zip(images, run(_is_portrait, [picture.path for picture in images]), strict=True)
        if usable
    ]


def _is_portrait(path: Path) -> bool:
    try:
        check_portrait(path)
    except MediumError:
        return False
    return True


def rendered_pool(folder: Path, photos: Sequence[tuple[Path, str]], size: int, count: int, seed: int, run: Run) -> None:
    """Write the pool of the first `count` rendered heads, unless it is there."""
    about = {"kind": "rendered", "size": size, "photos": _digest(photos), "count": count, "seed": seed}
    about["version"] = POOL_VERSION

    def drawn() -> Iterator[Face]:
        with progress_line(f"render {folder.name}", count, "heads") as advance:
            for face in islice(heads(photos, size, seed, run=run), count):
                advance(1)
                yield face

    if not _is_there(folder, about):
        if not photos:
            raise BuildError(
                f"{folder.name}: no picture can be turned into a head (frontal, sharp, with room around the face); "
                "give more, or render none: head_share 0 in a training, --heads 0 in an evaluation"
            )
        write_faces(folder, drawn(), about)


def _is_there(folder: Path, about: dict[str, Any]) -> bool:
    """True if the pool is what it would be; one of other pictures or settings is removed."""
    if not (folder / LIST).is_file():
        return False
    if json.loads((folder / LIST).read_text())["about"] == about:
        return True
    shutil.rmtree(folder)
    return False


def _digest(content: Sequence[object]) -> str:
    return hashlib.sha256("\n".join(map(str, content)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Pools:
    """Portraits that heads are rendered from, with their subjects, and pictures that were left out, by reason."""

    photos: list[tuple[Path, str]]
    rejected: Counter[str]


def write_pools(
    folder: Path, part: str, pictures: Sequence[Picture], size: int, faces: FacesConfig, seed: int, run: Run
) -> Pools:
    """Teach and render `pictures` into the pools `taught-PART` and `rendered-PART`, unless they are there."""
    rejected = taught_pool(folder / f"taught-{part}", chosen(pictures, faces.pictures, seed), size, run)
    if faces.head_share == 0:
        return Pools([], rejected)
    photos = portraits(chosen(pictures, faces.portraits, seed), run)
    # other heads to judge with than to train on, even of one photograph
    count, offset = (faces.held_heads, 1) if part == "held" else (faces.heads, 0)
    if count:
        rendered_pool(folder / f"rendered-{part}", photos, size, count, seed + offset, run)
    return Pools(photos, rejected)


@contextmanager
def processes(workers: int) -> Iterator[Run]:
    """A `map` in order: in this process for one worker, else over spawned processes of one thread each."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            yield executor.map
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
