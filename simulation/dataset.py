"""The whole simulated dataset: subjects, pictures, labels, truth; complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from simulation.camera import CAMERAS
from simulation.layout import Entry, write_metas
from simulation.media import ATTACK_DOMAINS
from simulation.packaged import packaged_photographs
from simulation.portrait import check_portrait
from simulation.shooting import Role, Shot, take
from tasks.errors import BuildError, MediumError

VERSION = 1  # raise it when the same settings begin to give other pictures
_MANIFEST = "simulation.json"
_PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
# train subjects, test subjects, live and spoof pictures a subject
_SIZES = {"tiny": (6, 2, 5, 10), "small": (18, 6, 17, 34)}
_CHUNK = 40  # pictures between two reports of progress, about


class SimulateConfig(BaseModel):
    """What to simulate. Counts left at None follow `size`; with photographs of your own, a subject is a portrait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["tiny", "small"] = Field(
        default="small", description="tiny: 8 subjects, 120 pictures; small: 24 and 1,224"
    )
    seed: int = Field(default=0, ge=0, description="the same seed gives the same bytes, for any number of workers")
    train_subjects: int | None = Field(
        default=None, ge=1, description="drawn subjects in train (packaged photographs only)"
    )
    test_subjects: int | None = Field(
        default=None, ge=1, description="drawn subjects in test (packaged photographs only)"
    )
    subjects: int | None = Field(
        default=None, ge=2, description="take so many of your own portraits, chosen by seed; default: all"
    )
    test_share: float = Field(default=0.25, gt=0, lt=1, description="share of your own portraits that goes into test")
    live: int | None = Field(default=None, ge=1, description="live pictures a subject")
    spoof: int | None = Field(default=None, ge=1, description="spoof pictures a subject")
    attacks: tuple[Literal["print", "replay", "papercut"], ...] = Field(
        default=("print", "replay", "papercut"), min_length=1, description="kinds of presentation"
    )
    cameras: tuple[str, ...] = Field(
        default=("phone", "webcam", "dslr"), min_length=1, description=f"cameras to draw from: {', '.join(CAMERAS)}"
    )
    media: str = Field(default="all", description=f"papers and screens: {', '.join(ATTACK_DOMAINS)}")

    @field_validator("cameras")
    @classmethod
    def _known_cameras(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(CAMERAS))
        if unknown:
            raise ValueError(f"unknown camera {', '.join(unknown)}; there are {', '.join(CAMERAS)}")
        return value

    @field_validator("media")
    @classmethod
    def _known_media(cls, value: str) -> str:
        if value not in ATTACK_DOMAINS:
            raise ValueError(f"unknown media {value!r}; there are {', '.join(ATTACK_DOMAINS)}")
        return value


@dataclass(frozen=True)
class Unusable:
    """A photograph that could not become a subject: file name, stable reason word, sentence."""

    photo: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Summary:
    """What lies in `out`. Everything in it is simulated: accuracy on it says nothing about real attacks.

    attacks: pictures a kind of presentation; unusable: photographs left out; reused: nothing had to be done.
    """

    out: str
    train_subjects: int
    test_subjects: int
    live: int
    spoof: int
    attacks: dict[str, int]
    unusable: tuple[Unusable, ...]
    reused: bool = False

    @property
    def pictures(self) -> int:
        """Live and spoof together."""
        return self.live + self.spoof


def simulate(
    photos: Sequence[Path] | Path | None,
    out: Path,
    config: SimulateConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Summary:
    """Write a simulated dataset in CelebA-Spoof's layout to `out`.

    `photos`: portraits, or a folder of them, one subject each; None draws subjects from the two packaged photographs.
    Unusable ones among the `config.subjects` that are chosen are left out, not replaced.
    `progress(done, total)` counts pictures. The folder appears complete or not at all. An `out` that already holds the
    same simulation is left as it is (`Summary.reused`). Raises BuildError if `out` holds anything else, or if fewer
    than 2 photographs of your own are usable; unusable ones are listed in the Summary.
    """
    config = config or SimulateConfig()
    if workers < 1:
        raise BuildError(f"workers: expected at least 1, got {workers}")
    out = Path(out).expanduser().resolve()
    files = _photographs(photos)
    if photos is not None:
        files = _chosen(files, config)
    settings = {
        "version": VERSION,
        "config": config.model_dump(mode="json"),
        "photos": _fingerprints(files, photos is None),
    }
    done = _finished(out, settings)
    if done is not None:
        return done
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise BuildError(f"{out}: cannot be written ({error}); choose another --out") from error
    try:
        with _pool(workers) as run:
            usable, unusable = _check(files, run)
            shots = _plan(usable, config, drawn=photos is None)
            entries = _take_all(partial, shots, config.seed, run, progress, workers)
        write_metas(partial, entries)
        kinds = Counter(str(e.how["attack"]) for e in entries if e.code)
        summary = Summary(
            out=str(out),
            train_subjects=len({s.role.subject for s in shots if s.role.split == "train"}),
            test_subjects=len({s.role.subject for s in shots if s.role.split == "test"}),
            live=sum(e.code == 0 for e in entries),
            spoof=sum(e.code > 0 for e in entries),
            attacks=dict(sorted(kinds.items())),
            unusable=tuple(unusable),
        )
        found = {k: v for k, v in asdict(summary).items() if k not in ("out", "reused")}
        manifest = {"simulated": True, "settings": settings, "summary": found}
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        if out.exists():
            out.rmdir()  # empty: anything else was refused above
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return summary


def _photographs(photos: Sequence[Path] | Path | None) -> list[Path]:
    if photos is None:
        return packaged_photographs()
    if isinstance(photos, Path | str):
        folder = Path(photos)
        if not folder.is_dir():
            raise BuildError(f"{folder}: no such folder; --photos expects a folder of portraits, one person a file")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PHOTO_SUFFIXES and p.is_file())
        if not files:
            raise BuildError(f"{folder}: no pictures ({', '.join(sorted(_PHOTO_SUFFIXES))}) in it or below it")
        return files
    if not photos:
        raise BuildError("photos: the list is empty; give at least one portrait, or None for the packaged ones")
    return [Path(p) for p in photos]


def _chosen(files: list[Path], config: SimulateConfig) -> list[Path]:
    if config.subjects is None or config.subjects >= len(files):
        return files
    order = np.random.default_rng([config.seed, 4]).permutation(len(files))
    return [files[k] for k in sorted(order[: config.subjects])]


def _fingerprints(files: Iterable[Path], packaged: bool) -> list[list[str]]:
    """Names and hashes: the same settings on other photographs are another simulation."""
    if packaged:
        return [["packaged", p.name] for p in files]
    prints = []
    for path in files:
        try:
            prints.append([path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:16]])
        except OSError:
            prints.append([path.name, "unreadable"])
    return prints


def _finished(out: Path, settings: dict[str, object]) -> Summary | None:
    if not out.exists():
        return None
    if not out.is_dir():
        raise BuildError(f"{out} is a file; --out expects a folder that does not exist yet")
    if not any(out.iterdir()):
        return None
    try:
        manifest = json.loads((out / _MANIFEST).read_text())
        if manifest["settings"] == json.loads(json.dumps(settings)):
            found = dict(manifest["summary"])
            found["unusable"] = tuple(Unusable(**u) for u in found["unusable"])
            return Summary(out=str(out), reused=True, **found)
    except (OSError, ValueError, KeyError, TypeError):
        raise BuildError(f"{out} is not empty and holds no finished simulation; choose another --out") from None
    raise BuildError(f"{out} holds a simulation with other settings or photographs; choose another --out or delete it")


def _check(files: Sequence[Path], run: Callable[..., Iterator]) -> tuple[list[Path], list[Unusable]]:
    usable, unusable = [], []
    for path, problem in zip(files, run(_problem, files), strict=True):
        if problem is None:
            usable.append(path)
        else:
            unusable.append(problem)
    if not usable:
        first = unusable[0]
        raise BuildError(
            f"none of {len(files)} photographs can be used; {first.photo}: {first.reason}, {first.detail}. "
            "A portrait shows one face from the front, at least 56 px wide"
        )
    return usable, unusable


def _problem(path: Path) -> Unusable | None:
    try:
        check_portrait(path)
    except MediumError as error:
        return Unusable(path.name, error.reason, error.detail)
    return None


def _plan(usable: Sequence[Path], config: SimulateConfig, drawn: bool) -> list[Shot]:
    """Every picture of the dataset, in the order of its number; a function of the arguments alone."""
    train, test, live, spoof = _SIZES[config.size]
    live, spoof = config.live or live, config.spoof or spoof
    if drawn:
        train, test = config.train_subjects or train, config.test_subjects or test
        people = [(usable[k % len(usable)], bool((k // len(usable)) % 2)) for k in range(train + test)]
    else:
        if len(usable) < 2:
            raise BuildError(
                f"only {usable[0].name} of the photographs can be used: at least 2 portraits are needed, one "
                "person for train and another for test"
            )
        rng = np.random.default_rng([config.seed, 0])
        order = rng.permutation(len(usable))
        test = min(max(1, round(len(usable) * config.test_share)), len(usable) - 1)
        train = len(usable) - test
        people = [(usable[k], False) for k in order]
    roles = [
        Role(k + 1, "train" if k < train else "test", photo, mirrored, plain=not drawn)
        for k, (photo, mirrored) in enumerate(people)
    ]
    shots: list[Shot] = []
    for role in roles:
        own = [r for r in roles if r.split == role.split]
        place = own.index(role)
        wearer = own[place - 1] if len(own) > 1 else None
        shots += _shots(role, wearer, len(shots) + 1, live, spoof, config)
    return shots


def _shots(
    role: Role, wearer: Role | None, number: int, live: int, spoof: int, config: SimulateConfig
) -> Iterator[Shot]:
    rng = np.random.default_rng([config.seed, 3, role.subject])
    papers, screens = ATTACK_DOMAINS[config.media]
    # kinds and media come round in turn, from another start in every subject: all appear even in small datasets
    kinds = [""] * live + [config.attacks[(role.subject + i) % len(config.attacks)] for i in range(spoof)]
    turn = int(rng.integers(1000))
    for index, kind in enumerate(kinds):
        media = screens if kind == "replay" else papers
        worn = kind == "papercut" and wearer is not None and rng.random() < 0.6
        lossless = rng.random() < (0.75 if role.split == "test" else 0.0)
        yield Shot(
            role=role,
            number=number + index,
            index=index,
            kind=kind,
            medium=media[(turn + index // len(config.attacks)) % len(media)] if kind else "",
            camera=str(rng.choice(config.cameras)),
            suffix="png" if lossless else "jpg",
            wearer=wearer if worn else None,
        )


def _take_all(
    root: Path,
    shots: Sequence[Shot],
    seed: int,
    run: Callable[..., Iterator],
    progress: Callable[[int, int], None] | None,
    workers: int,
) -> list[Entry]:
    # whole subjects: a worker makes each texture once, and the wearer of a paper mask is the subject before
    enough = min(max(len(shots) // (8 * workers), 10), _CHUNK)
    chunks: list[list[Shot]] = []
    for shot in shots:
        last = chunks[-1] if chunks else []
        if not last or len(last) >= 1.5 * _CHUNK or (len(last) >= enough and last[-1].role != shot.role):
            chunks.append([])
        chunks[-1].append(shot)
    entries: list[Entry] = []
    for part in run(_take_chunk, [(root, chunk, seed) for chunk in chunks]):
        entries += part
        if progress is not None:
            progress(len(entries), len(shots))
    return entries


def _take_chunk(job: tuple[Path, list[Shot], int]) -> list[Entry]:
    root, shots, seed = job
    return [take(root, shot, seed) for shot in shots]


@contextmanager
def _pool(workers: int) -> Iterator[Callable[..., Iterator]]:
    """A `map`: in this process for one worker, else over processes (spawned: our threads must not be forked)."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            yield executor.map
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
