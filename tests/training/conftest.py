"""A small real store and a model trained from it, once; OULU-NPU as a table."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from tests.fixtures.balls import FAST, FAST_PDGAN, build_store
from tests.fixtures.listings import oulu_files, scanned
from training.evaluate import evaluate
from training.finetune import FinetuneConfig, finetune
from training.pretrain import PretrainConfig, pretrain

torch.set_num_threads(1)  # two threads wait for each other on a busy machine: one test took 190 s instead of 12


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    people = {"train": [f"s{i}" for i in range(10)], "test": [f"t{i}" for i in range(4)]}
    return build_store(tmp_path_factory.mktemp("balls"), people)


@pytest.fixture(scope="session")
def trained(store, tmp_path_factory) -> SimpleNamespace:
    """pretrain -> finetune -> evaluate, once."""
    folder = tmp_path_factory.mktemp("trained")
    calls: list[tuple[str, int, int, dict]] = []
    pretrained = pretrain(
        str(store), folder / "pre", PretrainConfig(pdgan=FAST_PDGAN, **FAST), lambda *call: calls.append(call)
    )
    model = finetune(str(store), folder / "model", FinetuneConfig(encoder=pretrained, epochs=6, **FAST))
    evaluation = evaluate(str(store), model, folder / "eval")
    return SimpleNamespace(store=store, pretrained=pretrained, model=model, evaluation=evaluation, calls=calls)


@pytest.fixture(scope="session")
def oulu(tmp_path_factory) -> pa.Table:
    """Every released video of OULU-NPU, one frame of each."""
    return scanned("oulu-npu", tmp_path_factory.mktemp("oulu"), oulu_files())
