"""Import of checkpoints: TensorFlow's own file gives TensorFlow's own output; what is damaged or foreign is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from prnet import PRNet
from prnet.checkpoint import import_checkpoint, tf_names
from prnet.errors import WeightsError
from tests.fixtures.prnet_layout import random_network, write_uv_folder
from tests.fixtures.tf_bundle import write_bundle

# written by TensorFlow 2.15.1, see golden/make.py: width 1/16, size 64, 6 variables with Adam slots
GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "checkpoint"
DATA = "checkpoint.data-00000-of-00001"


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    return write_uv_folder(tmp_path_factory.mktemp("uv") / "uv-data")


@pytest.fixture
def copy(tmp_path):
    """A copy of the golden checkpoint that may be spoilt."""
    for name in ("checkpoint.index", DATA):
        shutil.copy(GOLDEN / name, tmp_path / name)
    return tmp_path / "checkpoint"


def tf_tensors(network):
    """The network's tensors as a TensorFlow checkpoint holds them."""
    names = tf_names(network)
    tensors = {names[ours]: value.detach().numpy() for ours, value in network.tensors().items()}
    return {name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for name, value in tensors.items()}


def test_the_imported_network_computes_what_tensorflow_computed(tmp_path, uv):
    import_checkpoint(CHECKPOINT, uv, tmp_path / "prnet.safetensors")
    model = PRNet.load(tmp_path / "prnet.safetensors", device="cpu")
    golden = np.load(GOLDEN / "golden.npz")
    difference = np.abs(model.positions(golden["crops"]) / (1.1 * 64) - golden["positions"])
    assert golden["positions"].std() > 0.1, "an output that is all alike would prove nothing"
    assert difference.max() < 5e-4
    assert difference.mean() < 5e-5


def test_the_report_says_what_was_read_and_what_was_left(tmp_path, uv):
    report = import_checkpoint(CHECKPOINT, uv, tmp_path / "prnet.safetensors")
    assert (report.tensors, report.floats, report.width, report.size) == (245, 54_013, 1 / 16, 64)
    assert len(report.left_out) == 2 * 6 + 2, "slots of six variables and Adam's two counters"
    assert "beta1_power" in report.left_out
    assert "resfcn256/Conv/weights/Adam_1" in report.left_out
    assert set(report.source_sha256) == {"checkpoint.index", DATA}
    assert not report.released
    about = PRNet.load(report.out, device="cpu").about
    assert about["source_sha256"] == report.source_sha256
    assert "research" in str(about["licence"])


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.index", DATA])
def test_a_checkpoint_may_be_named_by_any_of_its_files(tmp_path, uv, name):
    assert import_checkpoint(GOLDEN / name, uv, tmp_path / "out.safetensors").tensors == 245


def test_stripped_and_sharded_checkpoints_give_the_same_weights(tmp_path, uv):
    network = random_network()
    single = write_bundle(tmp_path / "single", tf_tensors(network))
    shards = write_bundle(tmp_path / "shards", tf_tensors(network), shards=3)
    assert import_checkpoint(single, uv, tmp_path / "single.safetensors").left_out == ()
    import_checkpoint(shards, uv, tmp_path / "shards.safetensors")
    first, second = load_file(tmp_path / "single.safetensors"), load_file(tmp_path / "shards.safetensors")
    for name, value in network.tensors().items():
        np.testing.assert_array_equal(first[name], value.detach().numpy())
        np.testing.assert_array_equal(second[name], first[name])


def spoil(rng, index, data):
    """One random accident to one of the two files."""
    files = [bytearray(index), bytearray(data)]
    victim = files[int(rng.integers(2))]
    at = int(rng.integers(len(victim)))
    accident = rng.integers(5)
    if accident == 0:  # one bit
        victim[at] ^= 1 << int(rng.integers(8))
    elif accident == 1:  # one byte
        victim[at] = int(rng.integers(256))
    elif accident == 2:  # cut
        del victim[at:]
    elif accident == 3:  # a hole of zeros, as a download with gaps has
        end = min(at + int(rng.integers(1, 4096)), len(victim))
        victim[at:end] = bytes(end - at)
    else:  # bytes lost in the middle
        del victim[at : at + int(rng.integers(1, 64))]
    return bytes(files[0]), bytes(files[1])


def test_of_two_hundred_damaged_copies_none_loads_other_weights(tmp_path, uv):
    import_checkpoint(CHECKPOINT, uv, tmp_path / "good.safetensors")
    good = load_file(tmp_path / "good.safetensors")
    index, data = Path(f"{CHECKPOINT}.index").read_bytes(), (GOLDEN / DATA).read_bytes()
    rng = np.random.default_rng(2018)
    refused = 0
    for number in range(200):
        broken = spoil(rng, index, data)
        (tmp_path / "checkpoint.index").write_bytes(broken[0])
        (tmp_path / DATA).write_bytes(broken[1])
        out = tmp_path / f"{number}.safetensors"
        try:
            import_checkpoint(tmp_path / "checkpoint", uv, out)
        except WeightsError:
            refused += 1
            assert not out.exists()
            continue
        loaded = load_file(out)
        assert loaded.keys() == good.keys()
        assert all(np.array_equal(loaded[name], good[name]) for name in good)
    assert refused > 180, "most accidents hit something that counts"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "name", ["resfcn256/Conv/weights", "resfcn256/resBlock_9/Conv_1/weights", "resfcn256/Conv/weights/Adam"]
)
def test_one_damaged_byte_names_its_tensor(copy, tmp_path, uv, name):
    from prnet.tf_bundle import Bundle

    entry = Bundle(copy).entries[name]
    with (tmp_path / DATA).open("r+b") as file:
        file.seek(entry.offset + entry.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(WeightsError, match=rf"tensor {name} is damaged"):
        import_checkpoint(copy, uv, tmp_path / "out.safetensors")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_damaged_byte_of_the_index_is_seen_by_its_own_checksum(copy, tmp_path, uv, place):
    index = Path(f"{copy}.index")
    content = bytearray(index.read_bytes())
    content[int(len(content) * place)] ^= 1
    index.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint.index: damaged.*does not have its checksum"):
        import_checkpoint(copy, uv, tmp_path / "out.safetensors")


def test_a_short_file_names_the_first_tensor_that_is_cut(copy, tmp_path, uv):
    from prnet.tf_bundle import Bundle

    entry = Bundle(copy).entries["resfcn256/resBlock_5/Conv_1/weights"]
    with (tmp_path / DATA).open("r+b") as file:
        file.truncate(entry.offset + 10)
    with pytest.raises(WeightsError, match=rf"{DATA}: too short: tensor {entry.name} ends at"):
        import_checkpoint(copy, uv, tmp_path / "out.safetensors")


def test_a_missing_file_is_named(copy, tmp_path, uv):
    (tmp_path / DATA).unlink()
    with pytest.raises(WeightsError, match=rf"{DATA}: no such file"):
        import_checkpoint(copy, uv, tmp_path / "out.safetensors")
    with pytest.raises(WeightsError, match=r"nowhere: no such checkpoint"):
        import_checkpoint(tmp_path / "nowhere", uv, tmp_path / "out.safetensors")
    with pytest.raises(WeightsError, match=r"other.index: no such file"):
        import_checkpoint(tmp_path / "other.data-00000-of-00001", uv, tmp_path / "out.safetensors")


def without_a_layer(tensors):
    del tensors["resfcn256/resBlock_2/Conv/weights"]


def with_a_layer_more(tensors):
    tensors["resfcn256/Conv2d_transpose_17/weights"] = np.zeros((4, 4, 3, 3), np.float32)


def with_another_kernel(tensors):
    tensors["resfcn256/Conv2d_transpose_3/weights"] = np.zeros((3, 3, 16, 16), np.float32)


def with_doubles(tensors):
    tensors["resfcn256/Conv_beta/gamma"] = np.zeros(3)


def with_infinity(tensors):
    tensors["resfcn256/Conv/BatchNorm/gamma"][:] = np.inf


def of_another_kind(tensors):
    tensors.clear()
    tensors["generator/dense/kernel"] = np.zeros((3, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_a_layer, r"1 of 245 tensors are missing: resfcn256/resBlock_2/Conv/weights"),
        (with_a_layer_more, r"1 tensors are no part of resfcn256: resfcn256/Conv2d_transpose_17/weights"),
        (with_another_kernel, r"tensor resfcn256/Conv2d_transpose_3/weights has shape \(16, 16, 3, 3\), expected"),
        (with_doubles, r"tensor resfcn256/Conv_beta/gamma has type 2, expected float32"),
        (with_infinity, r"tensor stem.norm.weight must be floating point and finite"),
        (of_another_kind, r"no tensor resfcn256/Conv/weights: not a resfcn256"),
    ],
)
def test_another_architecture_is_refused_by_the_name_of_a_tensor(tmp_path, uv, change, words):
    tensors = {name: value.copy() for name, value in tf_tensors(random_network()).items()}
    change(tensors)
    with pytest.raises(WeightsError, match=words):
        import_checkpoint(write_bundle(tmp_path / "other", tensors), uv, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_indices_that_cannot_be_read_say_so(tmp_path, uv):
    tensors = tf_tensors(random_network())
    out = tmp_path / "out.safetensors"
    with pytest.raises(WeightsError, match="compressed"):
        import_checkpoint(write_bundle(tmp_path / "a", tensors, compression=1), uv, out)
    with pytest.raises(WeightsError, match="in slices"):
        import_checkpoint(write_bundle(tmp_path / "b", tensors, sliced="resfcn256/Conv/weights"), uv, out)
    (tmp_path / "c.index").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 20319\n" * 2)
    with pytest.raises(WeightsError, match="not the index of a TensorFlow checkpoint"):
        import_checkpoint(tmp_path / "c", uv, out)


def test_a_torch_state_dict_with_its_own_names(tmp_path, uv):
    network = random_network()
    names = {name: "net_" + name.replace(".", "_") for name in network.tensors() if name.startswith("decoder")}
    state = {names.get(name, name): value for name, value in network.state_dict().items()}
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.pt"
    )
    report = import_checkpoint(tmp_path / "a.pt", uv, tmp_path / "out.safetensors", names=names)
    assert report.tensors == 245
    loaded = load_file(tmp_path / "out.safetensors")
    for name, value in network.tensors().items():
        np.testing.assert_array_equal(loaded[name], value.detach().numpy())
    with pytest.raises(WeightsError, match=r"tensors are missing: decoder.0.conv.weight"):
        import_checkpoint(tmp_path / "a.pt", uv, tmp_path / "other.safetensors")


class Evil:
    def __reduce__(self):
        return (print, ("a checkpoint must never run code",))


def test_torch_files_that_are_damaged_unsafe_or_no_state_dict_are_refused(tmp_path, uv, capsys):
    out = tmp_path / "out.safetensors"
    torch.save(random_network().state_dict(), tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bit.pt").write_bytes(content)
    (tmp_path / "cut.pt").write_bytes(content[:5000])
    (tmp_path / "text.pt").write_text("hello")
    torch.save(Evil(), tmp_path / "evil.pt")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    for name, words in [
        ("bit.pt", "does not have its checksum|damaged"),
        ("cut.pt", "not a torch state dict"),
        ("text.pt", "not a torch state dict"),
        ("evil.pt", "not a torch state dict"),
        ("list.pt", "expected a state dict"),
    ]:
        with pytest.raises(WeightsError, match=words) as caught:
            import_checkpoint(tmp_path / name, uv, out)
        assert name in str(caught.value)
    assert "never run" not in capsys.readouterr().out


def test_a_layout_of_another_size_is_taken_as_the_networks_size(tmp_path):
    uv = write_uv_folder(tmp_path / "uv-96", size=96)
    assert import_checkpoint(CHECKPOINT, uv, tmp_path / "out.safetensors").size == 96
