"""Define the abilities of each serving engine, and describe those that it lacks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

_HUNDRED = 100
"""Percent of all traffic."""


class EngineName(StrEnum):
    """The engines, by their word in a policy."""

    GATEWAY = "gateway"
    ALIAS = "alias"
    HAPROXY = "haproxy"
    KUBERNETES = "kubernetes"
    RAY = "ray"


class KubernetesKind(StrEnum):
    """The kinds of objects whose weights engine `kubernetes` sets, by their word in a policy."""

    HTTPROUTE = "httproute"
    INFERENCESERVICE = "inferenceservice"


@dataclass(frozen=True, slots=True)
class EngineAbilities:
    """What a serving engine can do.

    Attributes:
        title: What messages call the engine.
        ramps: Whether a candidate can have a share of the traffic between 0 and 100 percent.
        largest_weight: Largest whole number that stands for a version's part of the traffic; 0 where any share can be
            given. A share is exact where both versions' parts are whole numbers up to this one.
        whole_percents: Whether only whole percents can be given.
        sticky: Whether a unit stays with one version while the weight grows.
        answers_for_failing_candidate: Whether the champion answers, in the same request, what the candidate fails.
        mirrors: Whether callers' requests can be mirrored to a candidate (a live shadow).
        standby: Whether the last proven-good version stays loaded, and answers what the champion fails.
        fallback: Whether a fallback answers what no version can.
        tripwire: Whether a candidate that keeps failing is cut at once, before any gate looks.
        kill_switch: Whether `surefoot kill` stops all candidates at the engine itself, without the journal.
        logs_requests: Whether the engine itself writes the prediction log, with times and resources of each request.
        steps_back: Whether a rollback can go step by step.
        drills: Whether rollbacks are rehearsed, in a twin or live.
        verifies_bytes: Whether a version's digest is checked before each load.
        rollback_needs_registry: Whether a rollback waits while the model registry does not answer.
        confirmed_by_proxies: Whether a change is confirmed by what answers callers, and not by a controller of it.
    """

    title: str
    ramps: bool
    largest_weight: int
    whole_percents: bool
    sticky: bool
    answers_for_failing_candidate: bool
    mirrors: bool
    standby: bool
    fallback: bool
    tripwire: bool
    kill_switch: bool
    logs_requests: bool
    steps_back: bool
    drills: bool
    verifies_bytes: bool
    rollback_needs_registry: bool
    confirmed_by_proxies: bool

    def weight_problem(self, weight: float) -> str:
        """Why the engine cannot give a candidate this weight, as a clause; empty when it can.

        Args:
            weight: Share of the traffic [percent, 0 to 100].
        """
        if not self.ramps and 0.0 < weight < _HUNDRED:
            return "moves all traffic at once"
        if self.whole_percents:
            return "" if float(weight).is_integer() else f"gives whole percents alone, and {weight:g} percent is none"
        if not self.largest_weight or whole_number_weights(weight, self.largest_weight) is not None:
            return ""
        return f"has whole numbers up to {self.largest_weight} as weights, and none of them give {weight:g} percent"


def whole_number_weights(weight: float, largest: int) -> tuple[int, int] | None:
    """Weights of champion and candidate that give the candidate exactly its share; None where none do.

    Whole percents have themselves as weights, so that people can read them.

    Args:
        weight: The candidate's share [percent, 0 to 100], meant as it is written in decimals.
        largest: The largest weight.
    """
    if float(weight).is_integer():
        return _HUNDRED - int(weight), int(weight)
    share = Fraction(repr(float(weight))) / _HUNDRED
    candidate, champion = share.numerator, share.denominator - share.numerator
    return (champion, candidate) if max(candidate, champion) <= largest else None


ENGINES: Mapping[EngineName, EngineAbilities] = MappingProxyType(
    {
        EngineName.GATEWAY: EngineAbilities(
            title="the gateway",
            ramps=True,
            largest_weight=0,
            whole_percents=False,
            sticky=True,
            answers_for_failing_candidate=True,
            mirrors=True,
            standby=True,
            fallback=True,
            tripwire=True,
            kill_switch=True,
            logs_requests=True,
            steps_back=True,
            drills=True,
            verifies_bytes=True,
            rollback_needs_registry=False,
            confirmed_by_proxies=True,
        ),
        EngineName.ALIAS: EngineAbilities(
            title="alias champion",
            ramps=False,
            largest_weight=0,
            whole_percents=False,
            sticky=False,
            answers_for_failing_candidate=False,
            mirrors=False,
            standby=False,
            fallback=False,
            tripwire=False,
            kill_switch=False,
            logs_requests=False,
            steps_back=False,
            drills=False,
            verifies_bytes=False,
            rollback_needs_registry=True,
            confirmed_by_proxies=True,
        ),
        EngineName.HAPROXY: EngineAbilities(
            title="HAProxy",
            ramps=True,
            largest_weight=256,
            whole_percents=False,
            sticky=False,
            answers_for_failing_candidate=False,
            mirrors=False,
            standby=False,
            fallback=False,
            tripwire=False,
            kill_switch=False,
            logs_requests=False,
            steps_back=False,
            drills=False,
            verifies_bytes=False,
            rollback_needs_registry=False,
            confirmed_by_proxies=True,
        ),
        EngineName.KUBERNETES: EngineAbilities(
            title="the HTTPRoute",
            ramps=True,
            largest_weight=1_000_000,
            whole_percents=False,
            sticky=False,
            answers_for_failing_candidate=False,
            mirrors=False,
            standby=False,
            fallback=False,
            tripwire=False,
            kill_switch=False,
            logs_requests=False,
            steps_back=False,
            drills=False,
            verifies_bytes=False,
            rollback_needs_registry=False,
            confirmed_by_proxies=False,
        ),
        EngineName.RAY: EngineAbilities(
            title="Ray Serve",
            ramps=True,
            largest_weight=0,
            whole_percents=False,
            sticky=True,
            answers_for_failing_candidate=False,
            mirrors=False,
            standby=False,
            fallback=False,
            tripwire=False,
            kill_switch=False,
            logs_requests=False,
            steps_back=False,
            drills=False,
            verifies_bytes=True,
            rollback_needs_registry=False,
            confirmed_by_proxies=True,
        ),
    }
)
"""What every engine can do; a new engine is one more entry, one policy section and one file of adapters/traffic."""

KUBERNETES_KINDS: Mapping[str, EngineAbilities] = MappingProxyType(
    {
        KubernetesKind.HTTPROUTE: ENGINES[EngineName.KUBERNETES],
        KubernetesKind.INFERENCESERVICE: replace(
            ENGINES[EngineName.KUBERNETES], title="the InferenceService", largest_weight=100, whole_percents=True
        ),
    }
)
"""What engine `kubernetes` can do with each kind of object; in `ENGINES` it stands for an HTTPRoute."""


def missing_abilities(name: EngineName, *, recorded_elsewhere: bool = False) -> Iterator[str]:
    """What an engine cannot do that the gateway does, one sentence for each consequence.

    Args:
        name: The engine.
        recorded_elsewhere: Whether the policy names where requests are recorded that the engine does not log.
    """
    able = ENGINES[name]
    engine = f"engine '{name}'"
    if not able.answers_for_failing_candidate:
        also = "" if able.fallback or able.standby else ", and neither a standby nor a fallback answers for a champion"
        yield f"{engine}: what a candidate fails its callers get as a failure: the champion does not answer{also}"
    if not able.tripwire:
        yield f"{engine}: no tripwire: a candidate that only fails is taken back at the next look of a gate"
    if not able.kill_switch:
        yield (
            f"{engine}: 'surefoot kill' ends the open rollout through the journal, and has no switch at the engine that"
            " works without it"
        )
    if not able.logs_requests and recorded_elsewhere:
        yield f"{engine}: it logs no request: gates see what the sources in 'evidence' hold, and nothing else"
    elif not able.logs_requests:
        yield (
            f"{engine}: it logs no request: applications write what they answered with 'surefoot record', and gates see"
            " nothing else; latency and resources are not judged"
        )
    if not able.verifies_bytes:
        yield f"{engine}: bytes are verified before the shadow, and not when an application or a server loads them"
    if able.rollback_needs_registry:
        yield f"{engine}: a rollback needs MLflow; while it does not answer, traffic stays and 'reconcile' repeats it"
    if not able.confirmed_by_proxies:
        yield (
            f"{engine}: a change is confirmed by the controller of the object, and not by each proxy: for a moment"
            " after a rollback has returned, a proxy may still send requests to the candidate"
        )
