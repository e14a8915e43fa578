"""The quality gate on pictures whose truth is known: what it catches of wrong meshes, and what it costs of good ones.

    pseudodepth simulate --out sim --size small
    python benchmarks/quality.py sim [--pictures 400] [--aligner facemesh] [--sheets folder] [--faces folder]

Every live picture of the simulated dataset is aligned as it is, and again after it was spoilt on purpose: a wrong box
(shifted, too small, too large, of the picture turned by 90 or 180 degrees), an occluder over 35, 60 or 85 % of the face
(one colour, or a part of another picture), and boxes on photographs without a face. Spoilt pictures come twice, with
the detector's face and points where it still finds one (lowered to a score of 0.3), and with a given box and no points.

What is wrong is said by the truth, not by how the picture was spoilt: a mesh whose vertices are more than 0.15
inter-ocular distances (mean, in the picture) from the renderer's, or a plain crop that shows less than 60 % of them; a
box without a face is always wrong. Good is every picture as it was with a mesh within 0.15; spoilt ones that the
aligner still got right count as neither and are listed. `--faces` draws the verdicts on a folder of photographs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# before this folder, whose prnet.py would hide the package
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from simulation.layout import truth_path
from storage.quality_sheet import depth_lines
from tasks.align import AlignConfig, Aligner, align
from tasks.aligners import load_aligner
from tasks.augment import ViewConfig, view_affine
from tasks.depth import DepthConfig, depth_map
from tasks.detect import DetectConfig, Detector, choose_face
from tasks.detectors import load_detector
from tasks.quality import Quality, QualityConfig, judge
from tasks.warp import apply_affine, warp

WRONG, SHOWN = 0.15, 0.6
VIEW = ViewConfig()
PHOTOS = ("coffee", "chelsea", "rocket", "coins", "text", "page", "clock", "brick", "grass", "gravel")
Picture = NDArray[np.uint8]


@dataclass
class Case:
    """A box in a picture, with the detector's points or None, and the true vertices (V, 3) px or None (no face)."""

    kind: str
    image: Picture
    box: NDArray[np.float64]
    points: NDArray[np.floating] | None
    truth: NDArray[np.float64] | None


@dataclass(eq=False)
class Verdict:
    """What the gate said of a case; error in inter-ocular distances, shown = share of the truth in the crop."""

    case: Case
    quality: Quality
    vertices: NDArray[np.float32]
    error: float
    shown: float

    @property
    def wrong(self) -> bool:
        return self.error > WRONG or self.shown < SHOWN

    @property
    def good(self) -> bool:
        return self.case.kind.startswith("good") and not self.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="made by `pseudodepth simulate`")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--aligner", default="facemesh", choices=["facemesh", "prnet", "face-alignment"])
    parser.add_argument("--prnet-weights", type=Path)
    parser.add_argument("--min-quality", type=float, default=QualityConfig().min_quality)
    parser.add_argument("--sheets", type=Path, help="folder for pictures of what was judged wrongly")
    parser.add_argument("--faces", type=Path, help="photographs to judge and draw, worst first (needs --sheets)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    aligner = load_aligner(AlignConfig(aligner=options.aligner, prnet_weights=options.prnet_weights))
    detector = load_detector(DetectConfig(min_score=0.3))
    verdicts = [
        verdict(case, aligner) for case in cases(options.dataset, options.pictures, options.seed, detector, aligner)
    ]
    good = show(verdicts, options.min_quality)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        lost = [v for v in good if v.quality.value < options.min_quality]
        missed = [v for v in verdicts if v.wrong and v.quality.value >= options.min_quality]
        for name, chosen in (("good_dropped", lost), ("wrong_kept", missed)):
            draw(sorted(chosen, key=lambda v: v.quality.value)[:100], aligner, options.sheets / f"{name}.png")
        if options.faces:
            photographs(options.faces, aligner, options.sheets, options.min_quality)


def cases(root: Path, limit: int, seed: int, detector: Detector, aligner: Aligner) -> Iterator[Case]:
    """Good and spoilt cases of up to `limit` live pictures, evenly spread over the dataset."""
    found = sorted(path for path in (root / "Data").rglob("live/*") if path.suffix in (".jpg", ".png"))
    if not found:
        sys.exit(f"{root}: no live pictures in Data/*/*/live; make them with `pseudodepth simulate --out {root}`")
    others = [photograph(name) for name in PHOTOS]
    for other in others:
        faces = detector([other])[0]
        for box, points in zip(faces.boxes, faces.points, strict=True):
            yield Case("no face, found by the detector", other, box.astype(float), points, None)
    for number in np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int)):
        path = found[number]
        image = np.asarray(Image.open(path).convert("RGB"))
        truth = np.load(truth_path(root, path.relative_to(root).as_posix()))["vertices"].astype(np.float64)
        if len(truth) != 468 or aligner.name != "facemesh":  # other meshes: compared by their five points
            truth = five(truth, load_aligner(AlignConfig(aligner="facemesh")).five_points)
        whole = np.concatenate([truth[:, :2].min(0), truth[:, :2].max(0)])
        rng = np.random.default_rng([seed, number])
        yield from spoilt(image, truth, whole, rng, detector, others)


def spoilt(
    image: Picture,
    truth: NDArray[np.float64],
    near: NDArray[np.float64],
    rng: np.random.Generator,
    detector: Detector,
    others: list[Picture],
) -> Iterator[Case]:
    """One picture as it is (`good`), then with wrong boxes, turned, occluded, and a box where no face is."""
    face = detected("good", image, near, truth, detector)
    if face is None:
        return
    yield face
    yield Case("good, given box", image, face.box, None, truth)
    middle, half = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]) / 2
    angle = rng.uniform(0, 2 * np.pi)
    aside = middle + 2 * half.max() * rng.uniform(0.4, 1.2) * np.array([np.cos(angle), np.sin(angle)])
    for kind, centre, scale in (
        ("box shifted by 0.4-1.2 sides", aside, 1.0),
        ("box of 0.25-0.55 the size", middle, rng.uniform(0.25, 0.55)),
        ("box of 1.8-3.5 the size", middle, rng.uniform(1.8, 3.5)),
    ):
        yield Case(kind, image, np.concatenate([centre - half * scale, centre + half * scale]), None, truth)
    for turns in (1, 2):
        turned = np.ascontiguousarray(np.rot90(image, turns))
        there = turn(truth, image.shape, turns)
        corners = turn(face.box.reshape(2, 2), image.shape, turns)
        box = np.concatenate([corners.min(0), corners.max(0)])
        yield Case(f"turned by {turns * 90}°, given box", turned, box, None, there)
        again = detected(f"turned by {turns * 90}°", turned, box, there, detector)
        if again is not None:
            yield again
    for share in (0.35, 0.6, 0.85):
        hidden = occlude(image, near, share, rng, others)
        yield Case(f"{share:.0%} hidden, given box", hidden, face.box, None, truth)
        again = detected(f"{share:.0%} hidden", hidden, face.box, truth, detector)
        if again is not None:
            yield again
    other = others[rng.integers(len(others))]
    height, width = other.shape[:2]
    side = rng.uniform(64, 0.9 * min(height, width))
    corner = rng.uniform(0, 1, 2) * (width - side, height - side)
    yield Case("no face, given box", other, np.concatenate([corner, corner + side]), None, None)


def detected(
    kind: str, image: Picture, near: NDArray[np.float64], truth: NDArray[np.float64], detector: Detector
) -> Case | None:
    """The detector's face nearest to a box, or None."""
    faces = detector([image])[0]
    chosen = choose_face(faces, near, DetectConfig())
    if chosen is None:
        return None
    return Case(kind, image, faces.boxes[chosen].astype(float), faces.points[chosen], truth)


def turn(points: NDArray[np.float64], shape: tuple[int, ...], turns: int) -> NDArray[np.float64]:
    """Points (N, 2 or 3) px after np.rot90 of a picture of `shape`."""
    turned = points.copy()
    for k in range(turns):
        width = shape[1 - k % 2]
        turned[:, 0], turned[:, 1] = turned[:, 1].copy(), width - 1 - turned[:, 0]
    return turned


def occlude(
    image: Picture, box: NDArray[np.float64], share: float, rng: np.random.Generator, others: list[Picture]
) -> Picture:
    """A rectangle over `share` of the face in `box` from one of its sides, of one colour or with another picture."""
    low, high = box[:2], box[2:]
    size = high - low
    area = np.array([low - 0.1 * size, high + 0.1 * size])  # (2 corners, x and y)
    axis, end = rng.integers(2), rng.integers(2)
    area[1 - end, axis] = (low, high)[end][axis] + (1 - 2 * end) * share * size[axis]
    x0, y0, x1, y1 = np.clip(area.ravel(), 0, np.tile(image.shape[1::-1], 2)).astype(int)
    hidden = image.copy()
    if x1 > x0 and y1 > y0:
        other = others[rng.integers(len(others))]
        hidden[y0:y1, x0:x1] = (
            rng.integers(0, 256, 3) if rng.random() < 0.5 else Image.fromarray(other).resize((x1 - x0, y1 - y0))
        )
    return hidden


def photograph(name: str) -> Picture:
    """One of scikit-image's photographs, (H, W, 3); none shows a person's face from near."""
    from skimage import data

    image = np.asarray(getattr(data, name)())
    return np.ascontiguousarray(np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3])


def five(vertices: NDArray[np.floating], groups: tuple[tuple[int, ...], ...]) -> NDArray[np.float64]:
    return np.stack([vertices[list(group)].mean(axis=0) for group in groups]).astype(np.float64)


def verdict(case: Case, aligner: Aligner) -> Verdict:
    """Align a case and judge it."""
    [face] = align([case.image], case.box[None], [case.points], aligner)
    crop = view_affine(case.box, 0, np.random.default_rng(), VIEW)
    [quality] = judge([case.image], [case.points], [crop], VIEW.size, [face], aligner, QualityConfig())
    if case.truth is None:
        return Verdict(case, quality, face.vertices, np.inf, 0.0)
    mesh = face.vertices if len(case.truth) == len(face.vertices) else five(face.vertices, aligner.five_points)
    eyes = case.truth[:2] if len(case.truth) == 5 else five(case.truth, aligner.five_points)[:2]
    error = np.linalg.norm(mesh[:, :2] - case.truth[:, :2], axis=1).mean() / np.linalg.norm(eyes[1] - eyes[0])
    seen = apply_affine(crop, case.truth[:, :2])
    shown = ((seen >= -0.5) & (seen <= VIEW.size - 0.5)).all(axis=1).mean()
    return Verdict(case, quality, face.vertices, float(error), float(shown))


def show(verdicts: list[Verdict], least: float) -> list[Verdict]:
    """Print the table; returns the good ones."""
    print(f"{'kind':34} {'cases':>6} {'wrong':>6} {'caught':>8} {'not wrong':>10} {'dropped':>8}")
    for kind in dict.fromkeys(v.case.kind for v in verdicts):
        of_kind = [v for v in verdicts if v.case.kind == kind]
        line(kind, of_kind, least)
    good = [v for v in verdicts if v.good]
    bad = [v for v in verdicts if v.wrong]
    print(f"\nwrong meshes caught     {share(bad, least):.2%} of {len(bad):,}  (wanted > 95 %)")
    print(f"good pictures lost      {share(good, least):.2%} of {len(good):,}  (wanted < 2 %)")
    for name in ("landmarks", "inside", "confidence", "agreement"):
        alone = [(getattr(v.quality, name), v.wrong, v.good) for v in verdicts]
        known = [(value, wrong, fine) for value, wrong, fine in alone if value is not None]
        caught = np.mean([value < least for value, wrong, _ in known if wrong])
        lost = np.mean([value < least for value, _, fine in known if fine])
        print(f"  {name:12} alone: {caught:7.2%} caught, {lost:6.2%} lost, of those that have it")
    return good


def line(kind: str, verdicts: list[Verdict], least: float) -> None:
    bad, fine = [v for v in verdicts if v.wrong], [v for v in verdicts if not v.wrong]
    caught = f"{share(bad, least):8.1%}" if bad else f"{'':8}"
    dropped = f"{share(fine, least):8.1%}" if fine else f"{'':8}"
    print(f"{kind:34} {len(verdicts):6} {len(bad):6} {caught} {len(fine):10} {dropped}")


def share(verdicts: list[Verdict], least: float) -> float:
    return float(np.mean([v.quality.value < least for v in verdicts])) if verdicts else float("nan")


def photographs(folder: Path, aligner: Aligner, out: Path, least: float, count: int = 200) -> None:
    """Judge `count` photographs as a build would and draw what is kept and what is dropped, worst first."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = np.random.default_rng(0).permutation(len(found))[:count]
    detector, verdicts = load_detector(DetectConfig()), []
    for number in chosen:
        image = np.asarray(Image.open(found[number]).convert("RGB"))
        faces = detector([image])[0]
        best = choose_face(faces, None, DetectConfig())
        if best is not None:
            case = Case(found[number].name, image, faces.boxes[best].astype(float), faces.points[best], None)
            verdicts.append(verdict(case, aligner))
    verdicts.sort(key=lambda v: v.quality.value)
    dropped = [v for v in verdicts if v.quality.value < least]
    print(f"\n{len(chosen)} photographs: no face {len(chosen) - len(verdicts)}, dropped {len(dropped)}")
    draw(dropped, aligner, out / "faces_dropped.png")
    kept = verdicts[len(dropped) :]
    for part in range(0, len(kept), 100):
        draw(kept[part : part + 100], aligner, out / f"faces_kept_{part}.png")


def draw(verdicts: list[Verdict], aligner: Aligner, out: Path, columns: int = 10, tile: int = 150) -> None:
    """Each picture around its box with lines of equal depth and the detector's points, and the verdict under it."""
    if not verdicts:
        return
    sheet = Image.new("RGB", (columns * tile, -(-len(verdicts) // columns) * (tile + 40)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, v in enumerate(verdicts):
        left, top = number % columns * tile, number // columns * (tile + 40)
        affine = view_affine(v.case.box, 0, np.random.default_rng(), ViewConfig(size=tile, margin=2))
        mesh = np.column_stack([apply_affine(affine, v.vertices[:, :2]), v.vertices[:, 2]])
        depth = depth_map(mesh, aligner.triangles, tile, DepthConfig())
        picture = Image.fromarray(depth_lines(warp(v.case.image, affine, tile), depth))
        over = ImageDraw.Draw(picture)
        for x, y in apply_affine(affine, v.case.points) if v.case.points is not None else ():
            over.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(255, 0, 0))
        sheet.paste(picture, (left, top))
        error = f" error {v.error:.2f}" if np.isfinite(v.error) else ""
        values = [f"{name[0]}{value:.2f}" for name, value in vars(v.quality).items() if value is not None]
        texts = (v.case.kind[:24], f"{v.quality.value:.2f}{error}", " ".join(values))
        for row, text in enumerate(texts):
            pen.text((left + 2, top + tile + 13 * row), text, fill="black")
    sheet.save(out)


if __name__ == "__main__":
    main()
