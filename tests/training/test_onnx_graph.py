"""Every method can be shipped, those of clips too."""

import numpy as np
import pytest
import torch

from liveness.card import Card, CropRule, Golden, InputRule, Licence, Sharpness
from liveness.graph import Graph, network_input
from training.methods import METHODS, get_method
from training.onnx_graph import ScoredGraph, write_onnx

SIZE = 64
CARD = Card(
    name="any",
    method="any",
    created="",
    crop=CropRule(
        detector="retinaface", detector_sha256="", min_score=0.75, max_side=640, min_face=32, margin=1.2, size=SIZE
    ),
    input=InputRule(size=SIZE),
    networks={},
    sharpness=Sharpness(least=None, source=""),
    golden=Golden(file="", sha256="", score_bgr=0),
    licence=Licence(code="", weights="", data=[]),
    training={},
)


# the largest by far
CASES = [pytest.param(name, marks=pytest.mark.slow) if name == "fas-sgtd" else name for name in METHODS]


@pytest.mark.parametrize("name", CASES)
def test_the_graph_of_every_method_gives_torchs_scores(name, tmp_path):
    method = get_method(name)
    settings = method.settings()
    torch.manual_seed(0)
    frames = method.targets(settings).frames
    graph = ScoredGraph(method.network(**method.network_arguments(settings)), SIZE, frames)
    write_onnx(graph, tmp_path / "model.onnx", CARD)
    crops = np.random.default_rng(0).integers(0, 256, (3, frames, SIZE, SIZE, 3)).astype(np.uint8)
    crops = crops if frames > 1 else crops[:, 0]
    shipped = Graph((tmp_path / "model.onnx").read_bytes(), tmp_path / "model.onnx")
    for count in (1, 3):
        assert np.abs(shipped.score(crops[:count]) - graph.score_crops(crops[:count])).max() < graph.network.parity
    with torch.no_grad():
        wanted = graph.network.as_map(graph.network(torch.from_numpy(network_input(crops, SIZE))))
    scores, maps = shipped.score_and_map(crops)
    assert (scores == shipped.score(crops)).all()
    assert (maps is None) == (wanted is None)
    if maps is not None and wanted is not None:
        assert maps.ndim == 3
        assert ((maps >= 0) & (maps <= 1)).all()
        assert np.abs(maps - wanted.numpy()).max() < 1 / 255  # a grey level: it is to be looked at
