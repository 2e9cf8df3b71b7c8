"""Define the policy of a model: how its versions are promoted and rolled back."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from surefoot.core.domain import LogPolicy, Outcome
from surefoot.core.fallback import FallbackAnswer, FallbackReference
from surefoot.core.policy.corners import Corners
from surefoot.core.policy.cross_section_rules import (
    JudgingPhase,
    PhaseGates,
    PolicyRuleInputs,
    broken_rules,
    never_judged_gates,
)
from surefoot.core.policy.evidence.evidence_section import EvidenceOrigin, EvidenceSection
from surefoot.core.policy.gates.any_gate import PolicyGate
from surefoot.core.policy.gates.base import PolicyModel, SlicedGate
from surefoot.core.policy.gates.implicit import ANSWER_SHAPE_GATE_NAME, CORNERS_GATE_NAME, DATA_GATE_NAME
from surefoot.core.policy.gates.metrics import OBSERVABILITY_METRICS
from surefoot.core.policy.governance.artifact_trust import ArtifactSection, ProvenanceKind
from surefoot.core.policy.governance.retention import RetentionSection, RiskTier
from surefoot.core.policy.recovery.bundle import BundleSection
from surefoot.core.policy.recovery.data_layer import DataLayerSection
from surefoot.core.policy.recovery.drill import DrillSection
from surefoot.core.policy.recovery.fallback import Fallback
from surefoot.core.policy.recovery.playbook import Playbook
from surefoot.core.policy.recovery.rollback import RollbackSection
from surefoot.core.policy.scalars import ModelName, Name, OptionalKey, Text, Texts
from surefoot.core.policy.sections import (
    BASELINE_UNHEALTHY_KEY,
    OLD_BASELINE_UNHEALTHY_KEY,
    Data,
    Log,
    Reaction,
    Reactions,
    Scoring,
    Serving,
)
from surefoot.core.policy.steps import (
    Approve,
    ApproveStep,
    Bake,
    LiveShadow,
    PolicyStep,
    Shadow,
    ShadowStep,
    Step,
    Watch,
    Weight,
)
from surefoot.core.policy.traffic.engine_demands import EngineDemands, unmet_demands
from surefoot.core.policy.traffic.traffic_section import Traffic
from surefoot.core.policy.violations import KeyPath, Violation, combined_rule_error, describe_type, rule_error

_RESERVED_GATE_NAMES = {
    DATA_GATE_NAME: "suite",
    ANSWER_SHAPE_GATE_NAME: "comparison of answers",
    CORNERS_GATE_NAME: "corner cases",
}


def _not_reserved(name: str) -> str:
    if name in _RESERVED_GATE_NAMES:
        raise rule_error(f"'{name}' is the name of the {_RESERVED_GATE_NAMES[name]}'s own gate: choose another")
    return name


def _steps(value: object) -> object:
    if not isinstance(value, list) or not value:
        raise rule_error(f"expected a list of steps, found {describe_type(value)}")
    return tuple(value)


def _kinds(value: object) -> object:
    if not isinstance(value, list) or len({str(item) for item in value}) < len(value):
        raise rule_error(f"expected a list of different kinds, found {describe_type(value)}")
    return tuple(value)


class Policy(PolicyModel):
    """Everything that an owner says about how a model is promoted and taken back."""

    model_config = ConfigDict(title="Surefoot policy")

    model: ModelName = Field(description="Registered model, as MLflow has it; the file may have any name.")
    owners: Texts = Field((), description="People or teams who answer for it.")
    unit: OptionalKey[Text] = Field(
        None, description="Request column that sticks to one version while the weight grows, such as a customer."
    )
    traffic: Traffic = Field(description="What traffic is planned, and which engine serves it.")
    data: Data = Field(description="The requests that the expectation suite validates.")
    gates: dict[Annotated[Name, AfterValidator(_not_reserved)], PolicyGate] = Field(
        description="Every gate by name; each must be named in a step or in bake.",
        json_schema_extra={"additionalProperties": False},
    )
    written_steps: Annotated[tuple[PolicyStep, ...], BeforeValidator(_steps)] = Field(
        alias="steps",
        description="A shadow that replays, or none; a shadow of live requests, or none; then weights that grow, where"
        " the engine has them; and approvals by people between any of these.",
        json_schema_extra={"minItems": 1},
    )
    bake: Bake = Field(description="How long a promoted version is watched, and what rolls it back.")
    watch: OptionalKey[Watch] = Field(
        None, description="How a champion is judged after its bake, for as long as it serves."
    )
    rollback: RollbackSection = Field(
        default_factory=lambda: RollbackSection.model_validate({}),
        description="How traffic goes back from a promoted version: at once, or step by step.",
    )
    reactions: Reactions = Field(
        default_factory=lambda: Reactions.model_validate({}),
        alias="on",
        description="What each outcome other than PASS leads to.",
    )
    on_new_candidate: Literal["replace", "queue", "reject"] = Field(
        "replace", description="What becomes of a candidate that comes while a rollout is open."
    )
    on_drift: Literal["alert", "revert", "adopt"] = Field(
        "alert",
        description="What follows when another hand moves alias champion: it is told, set back, or set back and that"
        " version promoted.",
    )
    ticket: Literal["required", "optional"] = Field(
        "optional", description="Whether a promotion needs a change ticket, which the journal keeps."
    )
    tier: RiskTier = Field(
        "standard", description="Risk class of the model; high-risk demands that records are kept six months."
    )
    retention: RetentionSection = Field(
        default_factory=lambda: RetentionSection.model_validate({}),
        description="How long records are kept at least.",
    )
    artifacts: ArtifactSection = Field(
        default_factory=lambda: ArtifactSection.model_validate({}),
        description="Which files of a version are taken.",
    )
    provenance: Annotated[tuple[ProvenanceKind, ...], BeforeValidator(_kinds)] = Field(
        (),
        description="What the registry must know of how a version came to be; one that lacks any is not promoted.",
        json_schema_extra={"uniqueItems": True},
    )
    false_rollback_budget: Annotated[float, Field(ge=1e-6, le=0.5, allow_inf_nan=False)] = Field(
        0.01, description="Chance that a good version is rolled back over the whole rollout [probability]."
    )
    log: Log = Field(
        default_factory=lambda: Log.model_validate({}),
        description="What of a request's features is kept in the prediction log.",
    )
    evidence: OptionalKey[EvidenceSection] = Field(
        None, description="Predictions, labels and metrics that are recorded outside of Surefoot, and where."
    )
    serving: Serving = Field(
        default_factory=lambda: Serving.model_validate({}),
        description="Which Python packages a version's processes see.",
    )
    scoring: Scoring = Field(
        default_factory=lambda: Scoring.model_validate({}),
        description="Where both versions are asked about logged requests; no verdict depends on it.",
    )
    data_layer: DataLayerSection = Field(
        (), description="Tables that are checkpointed at promotion, and what becomes of them on rollback."
    )
    bundle: BundleSection = Field(
        (), description="Configuration files that go with a version: written before its first request, and back last."
    )
    fallback: OptionalKey[Fallback] = Field(
        None, description="What answers a request that no version can answer; it is refused by default."
    )
    corners: OptionalKey[Corners] = Field(
        None, description="Corner cases of the inputs, asked of both versions in the shadow that replays."
    )
    drill: OptionalKey[DrillSection] = Field(
        None, description="How often the rollback is rehearsed in a twin, and when a proof is too old for a promotion."
    )
    playbook: Playbook = Field(
        default_factory=lambda: Playbook.model_validate({}),
        description="Who does what when a version is taken back, and who is called after what time.",
    )

    @model_validator(mode="after")
    def _keep_common_rules(self) -> Self:
        """Name the gates, and keep the rules between several parts."""
        for name, gate in self.gates.items():
            gate.with_name(name)
        outline = self._outline()
        more = (*self._units_without_a_column(), *self._corners_cannot_be_asked(), *self._engine_cannot_do(outline))
        more = (*more, *self.retention.unmet_demands(self.tier), *self._encrypted_columns_would_be_written())
        found = (*broken_rules(outline), *more)
        if broken := found or tuple(never_judged_gates(outline)):
            raise combined_rule_error(broken)
        return self

    def _encrypted_columns_would_be_written(self) -> Iterator[Violation]:
        """Encrypted columns are used by nothing that writes their values, or that cannot decrypt them."""
        if not self.log.encrypted:
            return
        path = ("log", "encrypt")
        if self.unit in self.log.encrypted:
            yield Violation(path, f"'{self.unit}' is the unit, which each record names: hash it")
        fallback = self.fallback is not None and (self.fallback.table is not None or self.fallback.pyfunc is not None)
        used = {
            "corners": self.corners is not None,
            "evidence": self.evidence is not None,
            "drill": self.drill is not None,
            "fallback": fallback,
        }
        for key in (key for key, is_used in used.items() if is_used):
            yield Violation(
                path, f"'{key}' reads logged requests, or writes them, without their keys: use hash, or drop"
            )

    def _units_without_a_column(self) -> Iterator[Violation]:
        """Units that are listed by name are found in a column."""
        if self.unit is None and self.rollback.cohort is not None and self.rollback.cohort.units:
            yield Violation(
                ("rollback", "cohort", "units"),
                "requests have no units without the key 'unit', which names their column",
            )

    def _corners_cannot_be_asked(self) -> Iterator[Violation]:
        """Corners are asked in a replay, of columns that the log keeps."""
        if self.corners is None:
            return
        if self.shadow is None:
            yield Violation(("corners",), "are asked in a shadow that replays: add such a step, or leave them out")
        elif self.corners.rare_groups is not None:
            yield from self._rare_groups_cannot_be_found(self.shadow, self.corners.rare_groups.reach)
        for column in self.corners.columns:
            if column in self.log.dropped:
                yield Violation(("log", "drop"), f"corners change '{column}': keep it, or leave it out there")

    def _rare_groups_cannot_be_found(self, shadow: Shadow, reach: float) -> Iterator[Violation]:
        """Groups are those of gates of the shadow, and older requests lie before its window."""
        if not any(isinstance(gate, SlicedGate) and gate.by for gate in map(self.gates.get, shadow.gates)):
            yield Violation(("corners", "rare_groups"), "no gate of the shadow has groups: give one the key 'by'")
        if reach <= shadow.window:
            rule = "must be longer than the shadow's window: older requests lie before it"
            yield Violation(("corners", "rare_groups", "reach"), rule)

    def _engine_cannot_do(self, outline: PolicyRuleInputs) -> Iterator[Violation]:
        """An engine is asked for nothing that it cannot do."""
        return unmet_demands(
            EngineDemands(
                choice=self.traffic.engine_choice,
                steps=self.written_steps,
                named=outline.named,
                gates=self.gates,
                rollback=self.rollback,
                unit=self.unit,
                has_fallback=self.fallback is not None and not self.fallback.refuse,
                has_drill=self.drill is not None,
                evidence=self.evidence,
            )
        )

    def _outline(self) -> PolicyRuleInputs:
        """What the rules between several parts look at."""
        named: list[PhaseGates] = []
        steps: list[tuple[KeyPath, JudgingPhase, float | None]] = []
        for index, step in enumerate(self.written_steps):
            path: KeyPath = ("steps", index)
            if isinstance(step, ApproveStep):
                steps.append((path, JudgingPhase.APPROVAL, None))
            elif isinstance(step, Weight):
                named.append(PhaseGates((*path, "hold", "gates"), JudgingPhase.RAMP, step.gates))
                steps.append((path, JudgingPhase.RAMP, step.weight))
            else:
                phase = JudgingPhase.SHADOW if isinstance(step, ShadowStep) else JudgingPhase.LIVE_SHADOW
                named.append(PhaseGates((*path, "shadow", "gates"), phase, step.shadow.gates))
                steps.append((path, phase, None))
        named.append(PhaseGates(("bake", "gates"), JudgingPhase.BAKE, self.bake.gates))
        if self.watch is not None:
            named.append(PhaseGates(("watch", "gates"), JudgingPhase.WATCH, self.watch.gates))
        if self.rollback.gates:
            named.append(PhaseGates(("rollback", "gates"), JudgingPhase.ROLLBACK, self.rollback.gates))
        ramps = self.traffic.engine_choice.abilities.ramps
        return PolicyRuleInputs(self.gates, named, steps, self.log.dropped, ramps, encrypted=self.log.encrypted)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """A replayed shadow first, then a live one, each or none; then the weights, increasing; approvals between."""
        found: list[Step] = []
        for step in self.written_steps:
            if isinstance(step, Weight):
                found.append(step)
            else:
                found.append(step.approve if isinstance(step, ApproveStep) else step.shadow)
        return tuple(found)

    @property
    def shadow(self) -> Shadow | None:
        """The shadow step that replays logged requests, or None."""
        return next((step for step in self.steps if isinstance(step, Shadow)), None)

    @property
    def live_shadow(self) -> LiveShadow | None:
        """The shadow step that mirrors live requests, or None."""
        return next((step for step in self.steps if isinstance(step, LiveShadow)), None)

    @cached_property
    def ramp(self) -> tuple[Weight, ...]:
        """The weights in order."""
        return tuple(step for step in self.steps if isinstance(step, Weight))

    @cached_property
    def approvals(self) -> tuple[Approve, ...]:
        """The approve steps in order."""
        return tuple(step for step in self.steps if isinstance(step, Approve))

    @cached_property
    def on(self) -> dict[Outcome, Reaction]:
        """Reaction to each outcome other than PASS."""
        return self.reactions.by_outcome

    @property
    def rollback_gates(self) -> tuple[str, ...]:
        """Names of the gates of a stepped rollback: those it names, or every gate of errors and latency."""
        every = (name for name, gate in self.gates.items() if gate.metric in OBSERVABILITY_METRICS)
        return self.rollback.gates or tuple(every)

    @property
    def requests_per_minute(self) -> float:
        """Planned traffic, for `lint` and `plan` [count per minute]."""
        return self.traffic.planned

    @property
    def units(self) -> float:
        """Different units that come back, for plans [count]; 0 when unknown."""
        return self.traffic.units or 0.0

    @property
    def stale_after(self) -> float:
        """Age of the newest logged request above which evidence is stale [seconds]."""
        return self.traffic.quiet

    @property
    def suite(self) -> str:
        """Name of the expectation suite of the requests."""
        return self.data.suite

    @property
    def suite_window(self) -> float:
        """How far back the requests are validated [seconds]."""
        return self.data.window

    @property
    def suite_every(self) -> float:
        """Time between two validations while the suite has not passed [seconds]."""
        return self.data.every

    @property
    def reshaped(self) -> bool:
        """Whether the candidate's answers may have another shape than the champion's."""
        return self.data.answers == "any"

    @property
    def log_policy(self) -> LogPolicy:
        """What of the requests' features stays in the prediction log."""
        return self.log.log_policy

    @property
    def evidence_origin(self) -> EvidenceOrigin | None:
        """What evidence is imported from; None where Surefoot records all of it."""
        if self.evidence is None:
            return None
        return EvidenceOrigin(self.evidence, self.log_policy, self.unit)

    @property
    def fallback_answer(self) -> FallbackAnswer | None:
        """The constant that answers a request that no version can answer; None where the fallback is none."""
        return None if self.fallback is None else self.fallback.answer

    @property
    def fallback_reference(self) -> FallbackReference | None:
        """The version that answers a request that no other version can answer; None where the fallback is none."""
        return None if self.fallback is None else self.fallback.reference(self.model)

    @property
    def renamed_keys(self) -> dict[str, str]:
        """Keys that are written with an old name, and their new names."""
        old = OLD_BASELINE_UNHEALTHY_KEY in self.reactions.model_fields_set
        return {f"on.{OLD_BASELINE_UNHEALTHY_KEY}": f"on.{BASELINE_UNHEALTHY_KEY}"} if old else {}
