"""The registry of the scheduled refresh, and that a refresh without changes starts nothing."""

from pathlib import Path

import pytest

from flows.cluster import DaskConfig
from flows.refresh import read_registry, refresh_datasets
from tasks.errors import BuildError

GOOD = """\
stores:
  - store: {store}
    sources: [{{name: celeba-spoof, root: {root}}}]
    config: {{shard_samples: 60}}
"""


def test_a_registry_is_read_with_its_build_settings(tmp_path: Path) -> None:
    file = tmp_path / "datasets.yaml"
    file.write_text(GOOD.format(store="/s", root="/r"))
    (entry,) = read_registry(file).stores
    assert (entry.store, entry.sources[0].name, entry.config.shard_samples) == ("/s", "celeba-spoof", 60)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stores: [", "not YAML"),
        ("stores: []", "stores"),  # an empty registry is a mistake, not a quiet night
        ("stores: [{store: /s}]", "stores.0.sources"),
        ("stores: [{store: /s, sources: [{name: folder, root: /r}], confg: {}}]", "confg"),
    ],
)
def test_a_broken_registry_names_the_file_and_the_entry(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "datasets.yaml"
    file.write_text(content)
    with pytest.raises(BuildError, match=str(file)) as caught:
        read_registry(file)
    assert said in str(caught.value)


def test_a_missing_registry_says_where_its_form_is_described(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="orchestration"):
        read_registry(tmp_path / "none.yaml")


@pytest.mark.slow
def test_a_refresh_builds_once_and_then_has_nothing_to_do(
    simulated: Path, tmp_path: Path, prefect_server: None
) -> None:
    file = tmp_path / "datasets.yaml"
    file.write_text(GOOD.format(store=tmp_path / "store", root=simulated))
    committed = [refresh_datasets(str(file), DaskConfig(workers=2))[0].committed for _ in range(2)]
    assert committed == [True, False]
