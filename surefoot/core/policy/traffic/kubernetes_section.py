"""Define the policy section `traffic.kubernetes`, which names the object that splits traffic."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import OptionalKey, PositiveDuration, optional_duration
from surefoot.core.policy.violations import describe_type, rule_error
from surefoot.core.serving_engines.engine_abilities import KubernetesKind

_LABEL_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_BACKEND_PATTERN = r"^[a-z][a-z0-9-]*\{version\}([a-z0-9-]*[a-z0-9])?$"
_MAX_PATIENCE_S = 300.0
"""Longest patience with a controller [seconds]: a rollback waits so long for its confirmation."""


def _backend(template: str) -> str:
    if re.fullmatch(_BACKEND_PATTERN, template) is None:
        raise rule_error(
            "expected a name with {version} in it that begins with a letter, such as v{version}, found"
            f" {describe_type(template)}"
        )
    return template


def _short(patience: float) -> float:
    if patience > _MAX_PATIENCE_S:
        raise rule_error("expected 5m at most: a rollback waits so long for the controller")
    return patience


class KubernetesSection(PolicyModel):
    """Which object of a Kubernetes cluster splits the traffic, and how it names the versions."""

    kind: Annotated[KubernetesKind, Field(strict=False)] = Field(
        description="Kind of the object: httproute (Gateway API) or inferenceservice (KServe)."
    )
    namespace: Annotated[str, Field(pattern=_LABEL_PATTERN)] = Field(description="Namespace of the object.")
    name: Annotated[str, Field(pattern=_NAME_PATTERN)] = Field(description="Name of the object.")
    backend: Annotated[str, AfterValidator(_backend), Field(json_schema_extra={"pattern": _BACKEND_PATTERN})] = Field(
        "v{version}",
        description="What the object calls a version: the name of its backend in an HTTPRoute, of its predictor in an"
        " InferenceService.",
    )
    context: OptionalKey[Annotated[str, Field(min_length=1, max_length=253)]] = Field(
        None, description="Context of the kubeconfig; its current one by default, or the cluster that Surefoot runs in."
    )
    patience: Annotated[PositiveDuration, AfterValidator(_short)] = optional_duration(
        "30s", "How long the controller of the object may take to confirm a change; most take less than two seconds."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """What the journal keeps to reach the object, as JSON values: no address, and no credentials."""
        made: dict[str, Any] = {"kind": str(self.kind), "namespace": self.namespace, "name": self.name}
        made |= {"backend": self.backend, "patience_s": self.patience}
        return made | ({"context": self.context} if self.context is not None else {})
