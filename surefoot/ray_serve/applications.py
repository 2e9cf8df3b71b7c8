"""Build the applications of Ray Serve for one model: a router in front, and one application for each version.

Ray imports this module by name, with the arguments that `surefoot.adapters.traffic.ray_serve` writes.
"""

from collections.abc import Mapping
from typing import Any

from ray import serve

from surefoot.ray_serve.version_replica import VersionReplica
from surefoot.ray_serve.version_router import VersionRouter

_MAX_ONGOING_REQUESTS = 1000
"""Requests that a replica takes at once; those that the model has no time for yet wait there."""


def build_router(args: Mapping[str, str]) -> Any:
    """Make the application that splits a model's requests.

    Args:
        args: The `model`.
    """
    made = serve.deployment(VersionRouter, name="Router", max_ongoing_requests=_MAX_ONGOING_REQUESTS)
    return made.bind(args["model"])


def build_version(args: Mapping[str, str]) -> Any:
    """Make the application that serves one version, in processes of its own.

    Args:
        args: The `model`, the version's `number` and `digest`, the address of `mlflow`, and the folder of the `cache`.
    """
    made = serve.deployment(VersionReplica, name="Version", max_ongoing_requests=_MAX_ONGOING_REQUESTS)
    return made.bind(*(args[key] for key in ("model", "number", "digest", "mlflow", "cache")))
