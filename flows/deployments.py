"""The deployments of prefect.yaml by name: started where a Prefect API answers, called here where none does."""

import importlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tasks.errors import BuildError

if TYPE_CHECKING:
    from prefect.exceptions import PrefectHTTPStatusError

FILE = "prefect.yaml"
POOL = "pseudodepth"


def deployments_file() -> Path:
    """`prefect.yaml` of the working folder, so that schedules can be one's own, else the one that comes along."""
    own = Path(FILE)
    return own.resolve() if own.is_file() else Path(str(files("flows") / FILE))


def entrypoints() -> dict[str, str]:
    """Deployment name -> `module:flow` of every deployment that comes along."""
    content = yaml.safe_load((files("flows") / FILE).read_text())
    return {deployment["name"]: deployment["entrypoint"] for deployment in content["deployments"]}


def parse_parameters(texts: list[str]) -> dict[str, Any]:
    """`name=value` texts; a value that is not JSON is a string, as in `prefect deployment run`.

    Raises:
        BuildError: for a text without `=`.
    """
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BuildError(f"'{text}': expected NAME=VALUE, such as store=/data/stores/celeba")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


@dataclass(frozen=True)
class Started:
    """A run that a Prefect server has taken: its name there, its page, and its last known state."""

    deployment: str
    run: str
    url: str
    state: str


def start_deployment(name: str, parameters: dict[str, Any], *, wait: bool) -> Started | None:
    """Start the deployment `name` (or `flow/name`) on the configured Prefect API; None if no API answers.

    Raises:
        BuildError: if the API has no such deployment, more than one, or refuses the parameters.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.flow_runs import wait_for_flow_run
    from prefect.settings import PREFECT_API_URL
    from prefect.utilities.urls import url_for

    if not PREFECT_API_URL.value():
        return None
    flow_name, _, short = name.rpartition("/")
    with get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            return None
        found = client.read_deployments(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[short])))
        named = {f"{client.read_flow(d.flow_id).name}/{d.name}": d for d in found}
        if flow_name:
            named = {full: d for full, d in named.items() if full == name}
        if not named:
            raise BuildError(
                f"{name}: {client.api_url} has no such deployment; `prefect deploy --all` or `pseudodepth serve` "
                "makes them"
            )
        if len(named) > 1:
            raise BuildError(f"{name}: could be {' or '.join(sorted(named))}; say which")
        ((full, deployment),) = named.items()
        try:
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        except PrefectHTTPStatusError as error:
            raise BuildError(f"{full}: refused: {_detail(error)}") from error
    if wait:
        import asyncio

        run = asyncio.run(wait_for_flow_run(run.id, timeout=None))
    state = run.state.name if run.state else None
    return Started(full, run.name, url_for(run) or "", state or "unknown")


def _detail(error: "PrefectHTTPStatusError") -> str:
    try:
        return str(error.response.json()["detail"])
    except (ValueError, KeyError):
        return str(error)


def call_here(name: str, parameters: dict[str, Any]) -> object:
    """Call the flow of the deployment `name` in this process and return what it returns.

    Raises:
        BuildError: if there is no such deployment, or its flow does not take the parameters.
    """
    from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError

    from flows.api import prefect_api

    known = entrypoints()
    short = name.rpartition("/")[2]
    if short not in known:
        raise BuildError(f"{name}: no such deployment; there are {', '.join(sorted(known))}")
    module, _, attribute = known[short].partition(":")
    flow = getattr(importlib.import_module(module), attribute)
    try:
        checked = flow.validate_parameters(parameters)
    except (ParameterTypeError, ParameterBindError, SignatureMismatchError, TypeError) as error:
        raise BuildError(f"{short}: {' '.join(str(error).split())}") from error
    with prefect_api(configured=False):
        return flow(**checked)
