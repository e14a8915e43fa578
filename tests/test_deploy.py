"""The files for containers name what is really there: flows, folders, commands."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


@pytest.mark.parametrize("name", ["prefect.docker.yaml", "prefect.kubernetes.yaml"])
def test_deployments_of_containers_name_flows_that_are_there(name: str) -> None:
    content = yaml.safe_load((DEPLOY / name).read_text())
    assert content["pull"] == [], "the code is in the image"
    for deployment in content["deployments"]:
        module, _, attribute = deployment["entrypoint"].partition(":")
        assert getattr(importlib.import_module(module), attribute).name == deployment["name"]
        assert deployment["work_pool"]["job_variables"]["image"].startswith("pseudodepth")


def test_the_image_copies_every_package_and_no_more() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.M))
    packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert copied == packages


def test_the_scheduler_of_the_cluster_leaves_deaths_to_the_build() -> None:
    import dask

    documents = list(yaml.safe_load_all((DEPLOY / "dask.kubernetes.yaml").read_text()))
    assert [d["kind"] for d in documents] == ["Deployment", "Service", "Deployment"]
    container = documents[0]["spec"]["template"]["spec"]["containers"][0]
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert dask.config.collect_env(variables) == {"distributed": {"scheduler": {"allowed-failures": 0}}} or (
        dask.config.get("distributed.scheduler.allowed-failures", config=dask.config.collect_env(variables)) == 0
    )
