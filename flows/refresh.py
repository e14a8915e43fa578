"""refresh-datasets: bring every store of a registry up to date; scheduled by prefect.yaml.

The registry is a YAML file:

    stores:
      - store: /data/stores/celeba
        sources: [{name: celeba-spoof, root: /data/CelebA_Spoof}]
        config: {view: {views: 3}}        # optional, as of BuildConfig
"""

from pathlib import Path

import yaml
from prefect import flow
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.build_depth import build_depth
from flows.build_summary import BuildSummary
from flows.cluster import DaskConfig
from flows.source import Source
from storage.errors import StoreError
from tasks.config import BuildConfig
from tasks.errors import BuildError


class RegisteredStore(BaseModel):
    """One store and what it is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    sources: list[Source] = Field(min_length=1)
    config: BuildConfig = Field(default_factory=BuildConfig)


class Registry(BaseModel):
    """The content of `datasets.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stores: list[RegisteredStore] = Field(min_length=1)


def read_registry(path: Path) -> Registry:
    """Read and check a registry.

    Raises:
        BuildError: naming the file and the entry, when it is missing, no YAML, or not of the form above.
    """
    try:
        return Registry.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise BuildError(f"{path}: no such registry; see docs/orchestration.md for the form of datasets.yaml") from None
    except yaml.YAMLError as error:
        raise BuildError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BuildError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@flow(name="refresh-datasets", persist_result=False)
def refresh_datasets(registry: str = "datasets.yaml", dask: DaskConfig | None = None) -> list[BuildSummary]:
    """Build each registered store; one whose sources have not changed is left as it is and starts nothing.

    Args:
        registry: path of the YAML file.
        dask: where shards are built.
    """
    summaries, failed = [], []
    for entry in read_registry(Path(registry)).stores:
        try:
            summaries.append(build_depth(entry.sources, entry.store, entry.config, dask))
        except (BuildError, StoreError) as error:  # the other stores have their night all the same
            failed.append(f"{entry.store}: {error}")
    if failed:
        raise BuildError(
            f"{len(failed)} of {len(failed) + len(summaries)} stores were not refreshed: " + "; ".join(failed)
        )
    return summaries
