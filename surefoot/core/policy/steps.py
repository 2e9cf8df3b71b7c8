"""Define a policy's promotion steps (shadow, weight, approve), and the bake and the watch after them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import (
    MIN_INTERVAL_S,
    Count,
    Duration,
    Interval,
    Name,
    OptionalKey,
    PositiveDuration,
    Text,
    Texts,
    one_or_more_schema,
    optional_duration,
)
from surefoot.core.policy.violations import Violation, describe_type, rule_error

REPLAY_EVALUATION_INTERVAL_S = 3600.0
"""Time between two looks at requests that were answered before, unless the policy says otherwise [seconds]."""
_MAX_INTERVAL_S = 21600.0
"""Longest time between two looks at live traffic, unless the policy says otherwise [seconds]."""
_EVERY = "Time between two looks; a twelfth of the whole by default, 5s to 6h."
_SOURCES = ("replay", "live")
"""Where the requests of a shadow come from."""


def default_evaluation_interval(hold: float) -> float:
    """Time between two looks at live traffic, unless the policy says otherwise: twelve a hold [seconds]."""
    return min(max(hold / 12.0, MIN_INTERVAL_S), _MAX_INTERVAL_S)


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise rule_error("at least one gate is needed: a step without a gate proves nothing")
    return names


GateNames = Annotated[Texts, AfterValidator(_some), one_or_more_schema({"type": "string", "minLength": 1}, 1)]
"""Names of the gates that must pass."""


def _source(value: object) -> object:
    if value not in _SOURCES:
        raise rule_error(f"expected one of {', '.join(_SOURCES)}, found {describe_type(value)}")
    return value


class Shadow(PolicyModel):
    """Replay of logged requests through both versions; no traffic moves."""

    source: Annotated[Literal["replay"], BeforeValidator(_source)] = Field("replay", description="Logged requests.")
    window: Duration = Field(description="How far back the replay reaches, such as 7d.")
    min_requests: Count = Field(1, description="Fewest labelled requests [count].")
    max_rows: OptionalKey[Annotated[Count, Field(ge=1)]] = Field(
        None, description="Most rows that are replayed, drawn by request id [count]; all without it."
    )
    gates: GateNames = Field(description="Gates that must pass.")
    every: Interval = optional_duration("1h", "Time between two looks.")

    def broken_rules(self) -> Iterator[Violation]:
        """Enough rows are replayed for the gates to be judged at all."""
        if self.max_rows is not None and self.max_rows < self.min_requests:
            yield Violation(
                ("max_rows",), f"must be at least min_requests ({self.min_requests}), or no gate could pass"
            )


class _EvaluatedStep(PolicyModel):
    """A time during which gates watch live traffic."""

    seconds: Duration = Field(alias="for", description="How long, such as 2h; the shortest time where it is a hold.")
    gates: GateNames = Field(description="Gates that must pass.")
    interval: OptionalKey[Interval] = Field(None, alias="every", description=_EVERY)

    @property
    def hold(self) -> float:
        """How long [seconds]."""
        return self.seconds

    @property
    def every(self) -> float:
        """Time between two looks [seconds]."""
        return default_evaluation_interval(self.seconds) if self.interval is None else self.interval


class Bake(_EvaluatedStep):
    """Time at 100 percent during which the gates stay armed."""


class Watch(PolicyModel):
    """How a champion is judged after its bake, for as long as it serves."""

    every: Interval = optional_duration("1d", "Time between two looks.")
    window: Duration = optional_duration("28d", "How far back requests are compared with the version before.")
    gates: Texts = Field(
        (), description="Paired gates: would the proven-good version before do better on the same requests?"
    )
    against: Literal["proven_good"] = Field("proven_good", description="Whom the champion is compared with.")
    ignored: Texts = Field(
        (), alias="except", description="Columns whose drift says nothing; those of the calendar are found by default."
    )
    false_alarms: Annotated[float, Field(ge=0.001, le=12.0, allow_inf_nan=False)] = Field(
        0.1, alias="false_alarms_a_year", description="False alarms that are accepted, of everything [count a year]."
    )
    worse: Literal["rollback", "incident", "tell"] = Field(
        "rollback", description="What follows when the version before would do better now."
    )
    alarm: Literal["incident", "tell"] = Field(
        "incident", description="What follows when labels, failures or times leave the champion's own past."
    )
    retrain: OptionalKey[Text] = Field(
        None, description="Prefect deployment, flow/name, that is started once an incident; its output is a candidate."
    )


class LiveShadow(_EvaluatedStep):
    """The candidate is asked a share of the callers' requests as well; callers get the champion's answers alone."""

    source: Annotated[Literal["live"], BeforeValidator(_source)] = Field(description="Callers' requests.")
    share: Annotated[float, Field(ge=0.1, le=100.0, allow_inf_nan=False)] = Field(
        description="Share of the requests that are mirrored to the candidate [percent, 0.1 to 100]."
    )
    min_requests: Count = Field(1, description="Fewest mirrored requests that both versions answer [count].")


class Hold(_EvaluatedStep):
    """Time at one weight."""

    min_requests: Count = Field(
        0, description="Fewest requests that both versions together answer at this weight [count]."
    )


class ShadowStep(PolicyModel):
    """A step that replays."""

    shadow: Shadow = Field(description="Replay of logged requests through both versions.")


class LiveShadowStep(PolicyModel):
    """A step that mirrors callers' requests."""

    shadow: LiveShadow = Field(description="Callers' requests are mirrored to the candidate.")


WeightShare = Annotated[float, Field(ge=0.1, le=99.0, allow_inf_nan=False)]
"""Share of the units that the candidate answers [percent]."""


class Weight(PolicyModel):
    """One rung of the ramp."""

    weight: WeightShare = Field(description="Share of the units that the candidate answers [percent, 0.1 to 99].")
    watched: Hold = Field(alias="hold", description="How long, and what must pass.")

    @property
    def hold(self) -> float:
        """Shortest time at this weight [seconds]."""
        return self.watched.hold

    @property
    def min_requests(self) -> int:
        """Fewest requests that both versions together answer at this weight [count]."""
        return self.watched.min_requests

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates that must pass."""
        return self.watched.gates

    @property
    def every(self) -> float:
        """Time between two looks [seconds]."""
        return self.watched.every


class Approve(PolicyModel):
    """People decide whether a rollout goes on; what is in force stays, and its gates stay armed."""

    by: Name = Field(description="Group of `configs/approvers.yaml` whose people may decide.")
    quorum: Annotated[Count, Field(ge=1, le=50)] = Field(1, description="People who must approve [count].")
    expires: PositiveDuration = optional_duration("1d", "How long the rollout waits for them.")
    then: Literal["abort", "hold"] = Field(
        "abort", description="What follows when they have not approved in time, or one of them has denied."
    )


class ApproveStep(PolicyModel):
    """A step that waits for people."""

    approve: Approve = Field(description="People whose signed approval the rollout waits for.")


STEP_CLASSES: dict[str, type[PolicyModel]] = {
    "shadow": ShadowStep,
    "live shadow": LiveShadowStep,
    "weight": Weight,
    "approve": ApproveStep,
}
"""The class of each kind of step."""


def _is_live(shadow: Mapping[object, object]) -> bool:
    """Whether a shadow is live; where the source is missing or misspelt, its other keys tell."""
    source = shadow.get("source")
    return source == "live" or (
        source != "replay" and "window" not in shadow and bool({"share", "for"} & shadow.keys())
    )


def step_kind(value: object) -> str | None:
    """Which of the steps a mapping is; None when it is none."""
    if not isinstance(value, Mapping):
        return None
    if "shadow" in value:
        inner = value["shadow"]
        return "live shadow" if isinstance(inner, Mapping) and _is_live(inner) else "shadow"
    return next((kind for kind in ("weight", "approve") if kind in value), None)


PolicyStep = Annotated[
    Annotated[ShadowStep, Tag("shadow")]
    | Annotated[LiveShadowStep, Tag("live shadow")]
    | Annotated[Weight, Tag("weight")]
    | Annotated[ApproveStep, Tag("approve")],
    Discriminator(step_kind),
]
Step = Shadow | LiveShadow | Weight | Approve


def remove_approval_steps(policy: Mapping[str, object]) -> dict[str, object]:
    """A policy's JSON values without its approve steps, for rehearsals and back-tests: these ask no person."""
    steps = policy.get("steps")
    kept = [step for step in steps if step_kind(step) != "approve"] if isinstance(steps, list | tuple) else steps
    return {**policy, "steps": kept} if "steps" in policy else dict(policy)
