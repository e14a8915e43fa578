"""Counters of a build for Prometheus, at http://<machine>:<port>/metrics while it runs, if a port is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.settings import settings
from tasks.errors import BuildError

if TYPE_CHECKING:
    import prometheus_client

COUNTED = ("media", "samples", "live", "spoof", "rejects", "shards")


class Metrics:
    """Counters by dataset and split, and seconds by stage; without a port, nothing."""

    def __init__(self, registry: "prometheus_client.CollectorRegistry | None" = None) -> None:
        self._counters: dict[str, prometheus_client.Counter] = {}
        if registry is None:
            return
        from prometheus_client import Counter

        labels = ("dataset", "split")
        for name in COUNTED:
            about = f"{name} done by this build"
            self._counters[name] = Counter(f"pseudodepth_{name}", about, labels, registry=registry)
        self._counters["seconds"] = Counter(
            "pseudodepth_stage_seconds", "spent by the workers, by stage", (*labels, "stage"), registry=registry
        )

    def add(self, dataset: str, split: str, counts: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """What one shard added."""
        if not self._counters:
            return
        for name in COUNTED:
            self._counters[name].labels(dataset, split).inc(counts.get(name, 0))
        for stage, spent in seconds.items():
            self._counters["seconds"].labels(dataset, split, stage).inc(spent)

    @classmethod
    @contextmanager
    def serving(cls) -> "Iterator[Metrics]":
        """Metrics at `PSEUDODEPTH_METRICS_PORT`, until the block ends.

        Raises:
            BuildError: if the extra is missing or the port is taken.
        """
        port = settings().metrics_port
        if port is None:
            yield cls()
            return
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise BuildError("PSEUDODEPTH_METRICS_PORT: `pip install 'pseudodepth[metrics]'`, or unset it") from error
        registry = CollectorRegistry()
        try:
            server, thread = start_http_server(port, registry=registry)
        except OSError as error:
            raise BuildError(f"PSEUDODEPTH_METRICS_PORT: {port} cannot be opened ({error}); choose another") from error
        try:
            yield cls(registry)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
