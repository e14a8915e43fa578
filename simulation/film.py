"""A film of somebody before a webcam: the person, then a print of them, then a screen that replays them.

What a moving camera stream is tried on: between the acts the place is empty, and in the live act the head turns away
once. Everything that one sitting has in common (person, light, lens, paper, screen) is drawn once; the pose, the hand
that holds the medium and the sensor's noise go on from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulation.attacks import Source, present
from simulation.backgrounds import draw_background
from simulation.camera import CAMERAS, expose
from simulation.head import Expression, draw_identity
from simulation.packaged import packaged_photographs
from simulation.portrait import fit_portrait
from simulation.render import Scene, Subject, draw_scene, in_view, make_subject, pose_vertices, render
from simulation.shooting import eyes, oval
from tasks.write_video import write_video

F32 = NDArray[np.float32]
Act = Literal["live", "print", "replay", "empty"]
Draw = Callable[[], np.random.Generator]  # an act's generator from its start: what is drawn is the same in each frame

SIZE = (640, 480)
ACTS: tuple[Act, ...] = ("live", "empty", "print", "empty", "replay")
MEDIA = {"print": "laser-a4", "replay": "pc-lcd"}
EMPTY_SHARE = 0.25  # how long a place is empty, in acts
AWAY = 32.0  # degrees of yaw at the height of the live act's turn: photographs show no head further round
_TURN = (0.55, 0.85)  # when in the live act the head turns away and back
_FACE = 0.28  # of the picture's width


@dataclass(frozen=True)
class FilmFrame:
    """One frame: image (480, 640, 3) uint8 sRGB; what is shown; yaw of the live head in degrees, 0 in other acts."""

    image: NDArray[np.uint8]
    act: Act
    yaw: float


def film(photo: Path, *, seconds: float, rate: int, seed: int, acts: Sequence[Act] = ACTS) -> Iterator[FilmFrame]:
    """Frames of the acts in turn, each `seconds` long at `rate` frames a second; same arguments, same pixels.

    Raises MediumError for a photograph that no head can be made of (see `simulation.portrait.fit_portrait`).
    """
    rng = np.random.default_rng([seed, 11])
    subject = make_subject(fit_portrait(photo), draw_identity(rng, mirrored=False, plain=True))
    scene = _sitting(rng, subject)
    behind = draw_background(rng, *SIZE, False)
    noise = np.random.default_rng([seed, 12])
    for number, act in enumerate(acts):
        count = max(1, round(seconds * rate * (EMPTY_SHARE if act == "empty" else 1.0)))

        def draw(number: int = number) -> np.random.Generator:
            return np.random.default_rng([seed, 13, number])

        for i in range(count):
            moved = _moved(subject, scene, i / rate, i / count if act == "live" else 0.0)
            if act == "empty":
                light = behind
            elif act == "live":
                light = render(subject, moved, behind, with_depth=False).light
            else:
                light = _held_up(draw, act, subject, scene, moved, behind)
            image = expose(np.random.default_rng([seed, 14]), CAMERAS["webcam"], light, noise)
            yield FilmFrame(image, act, moved.pose[0] if act == "live" else 0.0)


def simulate_film(path: Path, *, seconds: float, rate: int, seed: int, photo: Path | None = None) -> list[Act]:
    """Write the film of a portrait (None: a packaged one) as .mp4, .mkv, .mov, .avi or .mjpeg; what each frame shows.

    Raises what `film` and `tasks.write_video` raise.
    """
    acts: list[Act] = []
    with write_video(path, rate) as write:
        for frame in film(photo or packaged_photographs()[0], seconds=seconds, rate=rate, seed=seed):
            write(frame.image, len(acts) / rate)
            acts.append(frame.act)
    return acts


def _sitting(rng: np.random.Generator, subject: Subject) -> Scene:
    """The person at rest in an evenly lit room: a film is for trying a stream, not for the hardest light."""
    scene = draw_scene(rng, subject, outdoor=False)
    light = scene.light
    level = float(light.ambient_colour.mean() + light.key_colour.mean())
    light = replace(
        light, kind="normal", key_colour=light.key_colour / level, ambient_colour=light.ambient_colour / level
    )
    scene = replace(
        scene, size=SIZE, pose=subject.portrait.angles, expression=Expression(0.0, 0.1, 0.0), light=light,
        own_surroundings=False,
    )  # fmt: skip
    face = np.ptp(pose_vertices(subject, scene)[0][: subject.portrait.surface.faces, 0])
    return in_view(subject, replace(scene, zoom=scene.zoom * _FACE * SIZE[0] / float(face)))


def _moved(subject: Subject, scene: Scene, t: float, done: float) -> Scene:
    """The scene t seconds on: the head sways a little, and turns away and back when `done` is within _TURN."""
    yaw, pitch, roll = subject.portrait.angles
    start, end = _TURN
    part = np.sin(np.pi * np.clip((done - start) / (end - start), 0.0, 1.0)) ** 2
    far = np.copysign(AWAY, yaw)
    sway = 5.0 * np.sin(2 * np.pi * t / 3.1)
    pose = (yaw + sway + part * (far - yaw - sway), pitch + 2.0 * np.sin(2 * np.pi * t / 2.3), roll)
    drift = np.array([9.0 * np.sin(2 * np.pi * t / 4.7), 5.0 * np.sin(2 * np.pi * t / 3.7)]) / scene.zoom
    return replace(scene, pose=pose, centre=scene.centre + drift)


def _held_up(
    draw: Draw, act: Literal["print", "replay"], subject: Subject, scene: Scene, moved: Scene, behind: F32
) -> F32:
    """Light of the frame in which the medium is where the head would be; a screen shows the head in motion."""
    rng = draw()
    shown = draw_scene(rng, subject, False, share=(0.42, 0.60))
    shown = replace(shown, light=scene.light, pose=moved.pose if act == "replay" else scene.pose)
    seen = render(subject, shown, draw_background(rng, *shown.size, False), with_depth=False)
    picture = expose(rng, CAMERAS["phone"], seen.light)
    source = Source(picture, oval(seen), eyes(seen), seen.person)
    xy = pose_vertices(subject, replace(moved, pose=scene.pose))[0][: subject.portrait.surface.faces, :2]
    low, high = xy.min(axis=0), xy.max(axis=0)
    place = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2, float(high[0] - low[0]))
    exposure = (scene.light.ambient_colour + scene.light.key_colour).astype(np.float32)
    return present(draw(), act, MEDIA[act], source, behind, place, exposure).light
