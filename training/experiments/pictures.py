"""Pictures of an experiment's finished cells: PDGAN's figures 1, 4, 5, 6 and 7, and the rows' DET curves in one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from storage.atomic import write_file
from storage.dataset import DepthDataset
from training.breakdown import fuse, presentations
from training.checkpoint import load_json, load_model
from training.embedding import embed, project
from training.evaluate import read_scores
from training.experiments.cell import Cell
from training.experiments.grid import Grid
from training.figures import LIVE, SPOOF, STYLE, save_det_curves, save_embedding_panels
from training.methods.initial import load_encoder
from training.methods.resnet import Encoder, he_init
from training.metrics import Scores
from training.pictures import choose, drawn_depth
from training.scoring import feed_of
from training.splits import Rows

EMBEDDED = 600  # samples of figure 7: enough for a picture
FAILURES = 6  # of each kind in figure 6
FOLDER = Path("figures")

Panel = tuple[NDArray[Any], str, str]  # pixels (H, W[, 3]), title, colour of the title


def draw_pictures(grid: Grid, results: Sequence[dict[str, Any]], out: Path) -> dict[str, Path]:
    """Draw what the experiment asks for into out/figures; returns title -> path relative to `out`.

    PDGAN's are of the first finished cell that has a pre-training, left out where there is none. Curves are of each
    row's first finished cell, at the level of the experiment.
    """
    found: dict[str, Path] = {}
    if "det" in grid.experiment.figures and results:
        found |= _curves(grid, results, out)
    if "pdgan" in grid.experiment.figures:
        found |= _pdgan(grid, results, out)
    return found


def _curves(grid: Grid, results: Sequence[dict[str, Any]], out: Path) -> dict[str, Path]:
    done = {result["digest"] for result in results}
    curves: dict[str, Scores] = {}
    for cell in grid.cells:
        if cell.row not in curves and cell.digest in done:
            file = cell.folder(out) / "evaluation" / "scores.parquet"
            scores = read_scores(file)
            if grid.experiment.level == "presentation":
                scores = fuse(scores, presentations(pq.read_table(file, columns=["dataset", "path"])), "mean")
            curves[cell.row] = scores
    save_det_curves(out / FOLDER / "det.svg", curves)
    return {
        f"DET: BPCER over pooled APCER, one cell a row (seed {grid.seeds[0]} where it was finished)": FOLDER / "det.svg"
    }


def _pdgan(grid: Grid, results: Sequence[dict[str, Any]], out: Path) -> dict[str, Path]:
    done = {result["digest"] for result in results}
    cell = next((cell for cell in grid.cells if cell.pretraining and cell.digest in done), None)
    if cell is None:
        return {}
    data, train = DepthDataset(cell.test_store), DepthDataset(cell.train_store)
    scores = read_scores(cell.folder(out) / "evaluation" / "scores.parquet")
    place = {sample: i for i, sample in enumerate(data.table.column("sample_id").to_pylist())}
    rows = np.array([place[str(sample)] for sample in scores.sample_id], np.int64)
    pretraining = cell.pretraining_folder(out)
    assert pretraining is not None
    drawn: dict[str, tuple[str, Callable[[Path], None]]] = {
        "Figure 1: pseudo-depth of live and of spoof samples": (
            "figure-1.png",
            lambda path: _save(path, _examples(data, choose(data, rows, 8))),
        ),
        "Figure 4: input, target and generated depth of test samples": (
            "figure-4.png",
            lambda path: _save(path, _generated(data, choose(data, rows, 8, seed=1), pretraining)),
        ),
        "Figure 5: examples of each training dataset": ("figure-5.png", lambda path: _save(path, _datasets(train))),
        "Figure 6: live samples taken for spoof, spoof samples taken for live, with their scores": (
            "figure-6.png",
            lambda path: _save(path, _failures(data, rows, scores, _threshold(cell, out))),
        ),
        "Figure 7: what encoders see of test samples before any classifier is trained (PCA)": (
            "figure-7.svg",
            lambda path: _embeddings(grid, cell, pretraining, data, rows, path),
        ),
    }
    for name, draw in drawn.values():
        draw(out / FOLDER / name)
    return {title: FOLDER / name for title, (name, _) in drawn.items()}


def _examples(data: DepthDataset, rows: Rows) -> list[list[Panel]]:
    items = [data[int(row)] for row in rows]
    return [[_image(item) for item in items], [_depth(item["depth"][0].numpy()) for item in items]]


def _generated(data: DepthDataset, rows: Rows, pretraining: Path) -> list[list[Panel]]:
    return [*_examples(data, rows), [_depth(depth) for depth in drawn_depth(data, rows, pretraining)]]


def _datasets(data: DepthDataset) -> list[list[Panel]]:
    """A row a dataset: live ones first, then its attacks."""
    plain = pc.field("view") == 0
    table = data.table.append_column("row", [np.arange(len(data.table))]).filter(plain)
    grid = []
    for name in sorted(table.column("dataset").unique().to_pylist()):
        rows = table.filter(pc.field("dataset") == name).column("row").to_numpy()
        shown = [_image(data[int(row)]) for row in choose(data, rows, 8)]
        grid.append([(pixels, f"{name}\n{title}", colour) for pixels, title, colour in shown])
    return grid


def _failures(data: DepthDataset, rows: Rows, scores: Scores, threshold: float) -> list[list[Panel]]:
    order = np.argsort(scores.score, kind="stable")
    refused = [i for i in order if scores.label[i] == 0 and scores.score[i] < threshold][:FAILURES]
    passed = [i for i in order[::-1] if scores.label[i] == 1 and scores.score[i] >= threshold][:FAILURES]
    grid = []
    for chosen in (refused, passed):
        shown = [(_image(data[int(rows[i])]), scores.score[i]) for i in chosen]
        grid.append([(pixels, f"{title} {score:.3f}", colour) for (pixels, title, colour), score in shown])
    return grid


def _threshold(cell: Cell, out: Path) -> float:
    return float(load_json(cell.folder(out) / "cell.json")["levels"]["sample"]["dev"]["threshold"])


def _embeddings(grid: Grid, cell: Cell, pretraining: Path, data: DepthDataset, rows: Rows, path: Path) -> None:
    chosen = np.sort(np.random.default_rng([cell.seed, 7]).permutation(rows)[:EMBEDDED])
    net, card = load_model(pretraining)
    feed = feed_of(card, data, batch=64, device=torch.device("cpu"))
    untrained = he_init(Encoder(), torch.Generator().manual_seed(cell.seed))
    encoders: dict[str, torch.nn.Module] = {"He initialisation": untrained}
    files = ((c.row, getattr(c.settings, "encoder", None)) for c in grid.cells if c.pretraining is None)
    if brought := next(((row, path) for row, path in files if path), None):
        given = Encoder()
        load_encoder(given, brought[1])
        encoders[f"Given weights ({brought[0]})"] = given
    encoders[f"PDGAN encoder ({cell.row})"] = net.get_submodule("encoder")
    table = data.table.take(chosen)
    label, attack = (table.column(name).to_numpy(zero_copy_only=False) for name in ("label", "attack"))
    panels = {name: project(embed(encoder, feed, chosen)) for name, encoder in encoders.items()}
    save_embedding_panels(path, panels, label, attack.astype(np.str_))


def _image(item: Mapping[str, Any]) -> Panel:
    live = int(item["label"]) == 0
    return item["image"].permute(1, 2, 0).numpy(), "live" if live else "spoof", LIVE if live else SPOOF


def _depth(depth: NDArray[np.float32]) -> Panel:
    return depth, "", LIVE


def _save(path: Path, grid: Sequence[Sequence[Panel]]) -> None:
    """Panels in rows, each in its own colours; depth is shown from 0 to 1 whatever it holds."""
    columns = max(1, *(len(row) for row in grid))
    with rc_context({**STYLE, "axes.titlelocation": "center"}):
        figure = Figure(figsize=(1.15 * columns, 1.35 * len(grid)), dpi=140)
        for i, row in enumerate(grid):
            if not row:
                figure.add_subplot(len(grid), 1, i + 1).set_axis_off()
                figure.axes[-1].text(0, 0.5, "none")
            for k, (pixels, title, colour) in enumerate(row):
                axes = figure.add_subplot(len(grid), columns, i * columns + k + 1)
                axes.imshow(pixels, cmap="magma", vmin=0, vmax=1 if pixels.ndim == 2 else None)
                axes.set_axis_off()
                if title:
                    axes.set_title(title, color=colour, fontsize=7.5)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    write_file(path, stream.getvalue())
