"""The work pools of deploy/: a server takes their templates, and every job variable reaches the container."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values

DEPLOY = Path(__file__).parents[2] / "deploy"


def template(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / f"pool.{kind}.json").read_text())
    return loaded


def job(kind: str, deployment: str) -> dict[str, Any]:
    """What the worker is told to start for a run of the deployment, as Prefect's workers work it out."""
    content = yaml.safe_load((DEPLOY / f"prefect.{kind}.yaml").read_text())
    (found,) = (each for each in content["deployments"] if each["name"] == deployment)
    assert found["work_pool"]["name"] == f"pseudodepth-{kind}"
    variables, pool = found["work_pool"]["job_variables"], template(kind)
    # one that the template does not know would be dropped without a word
    jsonschema.validate(variables, pool["variables"] | {"additionalProperties": False})
    defaults = {name: field["default"] for name, field in pool["variables"]["properties"].items() if "default" in field}
    made: dict[str, Any] = apply_values(pool["job_configuration"], defaults | variables)
    return made


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_server_takes_the_template(kind: str, prefect_server: None) -> None:
    pool = WorkPoolCreate(name=f"pseudodepth-{kind}", type=kind, base_job_template=template(kind))
    with get_client(sync_client=True) as client:
        created = client.create_work_pool(pool)
    assert created.base_job_template == template(kind)


@pytest.mark.parametrize(
    ("deployment", "image"), [("build-depth", "pseudodepth"), ("train-liveness", "pseudodepth:cuda")]
)
def test_containers_get_their_image_and_folders(deployment: str, image: str) -> None:
    made = job("docker", deployment)
    assert made["image"] == image
    assert made["volumes"] == ["/data:/data"]
    gpus = (made.get("container_create_kwargs") or {}).get("device_requests", [])
    assert [request["capabilities"] for request in gpus] == ([[["gpu"]]] if image.endswith("cuda") else [])


@pytest.mark.parametrize(("deployment", "gpus"), [("build-depth", None), ("train-liveness", 1), ("prnet-train", 1)])
def test_jobs_ask_for_a_gpu_where_they_train_and_have_shared_memory(deployment: str, gpus: int | None) -> None:
    pod = job("kubernetes", deployment)["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == ("pseudodepth:cuda" if gpus else "pseudodepth")
    assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
    # 64 MB is what a container has by itself, and the loaders' rings are larger
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/dev/shm"}]
