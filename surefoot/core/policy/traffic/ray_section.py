"""Define the policy section `traffic.ray`, which names the Ray cluster that serves the versions."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import OptionalKey, PositiveDuration, Text, optional_duration
from surefoot.core.policy.violations import describe_type, rule_error

_ADDRESS_PATTERN = r"^https?://[^\s/:@]+(:[0-9]{1,5})?/?$"
_MAX_REPLICAS = 1000
_MAX_CPUS = 1024.0
_MAX_PATIENCE_S = 3600.0
"""Longest patience with a version that is started [seconds]."""


def _address(found: str) -> str:
    if re.fullmatch(_ADDRESS_PATTERN, found) is None:
        raise rule_error(
            "expected the address of Ray's dashboard without a path or a user, such as http://127.0.0.1:8265, found"
            f" {describe_type(found)}"
        )
    return found.rstrip("/")


def _short(patience: float) -> float:
    if patience > _MAX_PATIENCE_S:
        raise rule_error("expected 1h at most: a step of a rollout waits so long for its version")
    return patience


class RaySection(PolicyModel):
    """Which Ray cluster serves the versions, and how."""

    address: Annotated[str, AfterValidator(_address), Field(json_schema_extra={"pattern": _ADDRESS_PATTERN})] = Field(
        description="Dashboard of the Ray cluster, which has the REST API of Ray Serve."
    )
    unit: OptionalKey[Text] = Field(
        None, description="Column of a request by which callers stay with one version: the one that `unit` names."
    )
    replicas: Annotated[int, Field(ge=1, le=_MAX_REPLICAS)] = Field(
        1, description="Replicas of the router and of each version [count]."
    )
    cpus: Annotated[float, Field(ge=0.0, le=_MAX_CPUS, allow_inf_nan=False)] = Field(
        1.0, description="Processors that Ray reserves for each replica of a version."
    )
    cache: Text = Field(
        "~/.cache/surefoot/models", description="Folder on each of Ray's nodes in which versions are kept."
    )
    patience: Annotated[PositiveDuration, AfterValidator(_short)] = optional_duration(
        "5m", "How long a version may take until it runs; what serves already is not waited for."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """What the journal keeps to reach the cluster, as JSON values: no token."""
        made: dict[str, Any] = {"address": self.address, "replicas": self.replicas, "cpus": self.cpus}
        made |= {"cache": self.cache, "patience_s": self.patience}
        return made | ({"unit": self.unit} if self.unit is not None else {})
