"""The one place that reads the environment, but for what concerns stores behind URLs (storage/settings.py).

Everything below it receives plain values. Each setting can be given as `PSEUDODEPTH_<NAME>`.
"""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Machine-wide defaults; a flow parameter or a command's option wins over each of them."""

    model_config = SettingsConfigDict(env_prefix="PSEUDODEPTH_", frozen=True)

    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="local Dask workers")
    dask: str | None = Field(None, description="address of an existing Dask scheduler, tcp://host:port")
    face_landmarker: Path | None = Field(None, description="face_landmarker.task to use instead of the packaged one")
    detector_weights: Path | None = Field(None, description="detector weights to use instead of the packaged ones")
    prnet_weights: Path | None = Field(None, description="imported PRNet weights, a .safetensors file")
    metrics_port: int | None = Field(None, ge=1, le=65535, description="where a build shows Prometheus its counters")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()


# Libraries read these when they are imported. They only hold where the user has said nothing: for Prefect no telemetry
# and quiet logs because a run on one machine shows its own progress; for
# OpenMP threads that sleep while they wait: on a machine with other work, spinning ones made training 3.5 times slower;
# for onnxruntime no telemetry (the Linux wheel of 1.31 holds Microsoft's client, and leaves a file .ses in TMPDIR).
ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def prepare_environment() -> None:
    """Set the defaults above for what this process, and those that it starts, will import."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
