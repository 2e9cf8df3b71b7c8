"""Define the policy section `traffic`: planned traffic and the serving engine."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Duration, OptionalKey
from surefoot.core.policy.traffic.haproxy_section import HaproxySection
from surefoot.core.policy.traffic.kubernetes_section import KubernetesSection
from surefoot.core.policy.traffic.ray_section import RaySection
from surefoot.core.policy.violations import Violation
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.serving_engines.engine_choice import EngineChoice

_QUIET_GAPS = 100
"""Expected gaps between two requests after which silence is no accident any more [count]."""
_MAX_REQUESTS_PER_MINUTE = 1e9
"""Largest planned traffic [requests per minute]."""
_MIN_REQUESTS_PER_MINUTE = 1e-300
"""Planned traffic that less is counted as, so that a division by it stays finite [requests per minute]."""
_MAX_QUIET_S = 10.0 * 365.25 * 86400.0
"""Longest silence that is no accident by default, however rare requests are [seconds]."""
_MIN_QUIET_S = 900.0
"""Shortest silence that makes evidence stale by default [seconds]."""


class Traffic(PolicyModel):
    """What traffic is planned, and who serves it."""

    engine: Annotated[EngineName, Field(strict=False)] = Field(
        EngineName.GATEWAY,
        description="Who splits the traffic: the gateway, alias champion alone, HAProxy, Kubernetes, or Ray Serve.",
    )
    requests_per_minute: Annotated[float, Field(gt=0.0, le=_MAX_REQUESTS_PER_MINUTE, allow_inf_nan=False)] = Field(
        description="Planned traffic [requests per minute]; plans count on it, no verdict does."
    )
    units: OptionalKey[Annotated[float, Field(ge=1.0, le=1e12, allow_inf_nan=False)]] = Field(
        None, description="Different units that come back, for plans [count]."
    )
    stale_after: OptionalKey[Duration] = Field(
        None, description="Silence of the log after which evidence is STALE; 100 mean gaps by default, 15m at least."
    )
    candidate_errors_reach_callers: bool = Field(
        False,
        description="Must be true with an engine that does not answer for a candidate that fails: callers get its"
        " failures.",
    )
    haproxy: OptionalKey[HaproxySection] = Field(None, description="Where HAProxy is, for that engine.")
    kubernetes: OptionalKey[KubernetesSection] = Field(
        None, description="Which object of a Kubernetes cluster splits the traffic, for that engine."
    )
    ray: OptionalKey[RaySection] = Field(None, description="Which Ray cluster serves the versions, for that engine.")

    def broken_rules(self) -> Iterator[Violation]:
        """An engine is told where it is and what it lets through to callers, and only that engine."""
        answers = self.engine_choice.abilities.answers_for_failing_candidate
        if not answers and not self.candidate_errors_reach_callers:
            rule = (
                f"engine '{self.engine}' does not answer for a candidate that fails: write"
                " 'candidate_errors_reach_callers: true' beside it, or use the gateway"
            )
            yield Violation(("engine",), rule)
        if answers and self.candidate_errors_reach_callers:
            rule = f"engine '{self.engine}' answers for a candidate that fails: leave this key out"
            yield Violation(("candidate_errors_reach_callers",), rule)
        for name, section, keys in (
            (EngineName.HAPROXY, self.haproxy, "addresses: ..., backend: ..."),
            (EngineName.KUBERNETES, self.kubernetes, "kind: ..., namespace: ..., name: ..."),
            (EngineName.RAY, self.ray, "address: ..."),
        ):
            if self.engine is name and section is None:
                yield Violation(("engine",), f"engine '{name}' needs '{name}: {{{keys}}}' beside it")
            if self.engine is not name and section is not None:
                rule = f"only engine '{name}' has it: write 'engine: {name}', or leave it out"
                yield Violation((str(name),), rule)

    @property
    def engine_choice(self) -> EngineChoice:
        """The engine that serves the model, with what a rollback needs to reach it."""
        settings: dict[str, Any] = {}
        if self.engine is EngineName.HAPROXY and self.haproxy is not None:
            made = self.haproxy
            settings = {"addresses": list(made.addresses), "backend": made.backend, "server": made.server}
        elif self.engine is EngineName.KUBERNETES and self.kubernetes is not None:
            settings = self.kubernetes.settings
        elif self.engine is EngineName.RAY and self.ray is not None:
            settings = self.ray.settings
        return EngineChoice(self.engine, settings)

    @property
    def planned(self) -> float:
        """Planned traffic, large enough to divide by [requests per minute]."""
        return max(self.requests_per_minute, _MIN_REQUESTS_PER_MINUTE)

    @property
    def quiet(self) -> float:
        """Silence of the log after which evidence is stale [seconds]."""
        if self.stale_after is not None:
            return self.stale_after
        return min(max(_QUIET_GAPS * 60.0 / self.planned, _MIN_QUIET_S), _MAX_QUIET_S)
