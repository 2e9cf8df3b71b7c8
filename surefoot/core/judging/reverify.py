"""Verify the verdicts in the journal: recount their evidence where possible, and judge it again."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

from surefoot.core.domain import Verdict
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import GateJudged, RolloutOpened, decode_event
from surefoot.core.journal.watch_events import ChampionJudged
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_json import decode_evidence
from surefoot.core.judging.judge import COMPATIBLE_RULES_VERSIONS, JUDGE_RULES_VERSION, judge
from surefoot.core.policy.gates.implicit import IMPLICIT_GATES
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import GAP_METRICS, Gate, SlicedGate

_LOG_TOLERANCE = 1e-9
"""Relative difference that two machines' logarithms may make."""


class RecountResult(StrEnum):
    """Whether the stored sums of a verdict could be added up again."""

    NONE = "no sums were kept"
    GONE = "the kept sums are not here"
    DONE = "added up again"


@dataclass(frozen=True, slots=True)
class ReverifyResult:
    """Result of judging one journalled verdict again.

    Attributes:
        seq: The entry.
        gate: The gate that it speaks of.
        problem: How the verdict differs from what its counters say; empty when it does not.
        skipped: Why it was not judged again; empty when it was.
        recount: Whether its counters were added up again.
    """

    seq: int
    gate: str
    problem: str = ""
    skipped: str = ""
    recount: RecountResult = RecountResult.NONE


def _no_recount(_gate: Gate, _evidence: Evidence) -> tuple[RecountResult, str]:
    return RecountResult.NONE, ""


def reverify(
    entries: Iterable[Entry], recount: Callable[[Gate, Evidence], tuple[RecountResult, str]] = _no_recount
) -> Iterator[ReverifyResult]:
    """Judge again every verdict whose evidence was journalled and whose rules this release applies.

    Args:
        entries: The journal of a model.
        recount: Adds up the counters of a verdict again; what became of it, and what is wrong with them.
    """
    policies: dict[str, tuple[dict[str, Gate], dict[str, tuple[str, ...]]]] = {}
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, RolloutOpened) and event.policy:
            policies[event.rollout] = dict(parse_policy(event.policy).gates), _protected(event.policy)
        elif isinstance(event, GateJudged | ChampionJudged) and (why := _not_again(event)):
            yield ReverifyResult(entry.seq, event.verdict.gate, skipped=why)
        elif isinstance(event, GateJudged | ChampionJudged) and event.level:
            gates, written = policies.get(event.rollout, ({}, {}))
            gate = IMPLICIT_GATES.get(event.verdict.gate) or gates.get(event.verdict.gate)
            if isinstance(gate, SlicedGate) and event.judge != JUDGE_RULES_VERSION:
                gate = gate.model_copy(update={"protected": written.get(gate.name, ())})
            if gate is None:
                yield ReverifyResult(entry.seq, event.verdict.gate, "its policy has no such gate")
                continue
            evidence = decode_evidence(event.evidence)
            done, wrong = recount(gate, evidence)
            again = judge(gate, evidence, event.level)
            if (
                gate.metric in GAP_METRICS and event.judge != JUDGE_RULES_VERSION
            ):  # it named the group whose rate had moved most
                again = replace(again, culprit=event.verdict.culprit)
            problem = wrong if done is RecountResult.DONE and wrong else _apart(event.verdict, again)
            yield ReverifyResult(entry.seq, event.verdict.gate, problem, recount=done)


def _protected(policy: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Protected slices as the policy spells them: earlier editions compared them as they were written."""
    gates = cast("Mapping[str, Mapping[str, object]]", policy["gates"])
    found = {name: gate.get("protected", ()) for name, gate in gates.items()}
    return {name: (some,) if isinstance(some, str) else tuple(cast("list[str]", some)) for name, some in found.items()}


def _not_again(event: GateJudged | ChampionJudged) -> str:
    """Why a verdict cannot be judged again; empty when it can."""
    if not event.evidence or event.level is None:
        return "its counters were not kept"
    return (
        ""
        if event.judge in (JUDGE_RULES_VERSION, *COMPATIBLE_RULES_VERSIONS)
        else "another edition of the judge gave it"
    )


def _apart(stored: Verdict, again: Verdict) -> str:
    """How two verdicts differ; numbers may differ by what two machines' logarithms do."""
    if stored.outcome is not again.outcome:
        return f"the journal says {stored.outcome}, its counters say {again.outcome}"
    for name in ("n", "estimate", "lower", "upper", "margin"):
        old, new = getattr(stored, name), getattr(again, name)
        if (old is None) != (new is None) or (
            old is not None and not math.isclose(old, new, rel_tol=_LOG_TOLERANCE, abs_tol=_LOG_TOLERANCE)
        ):
            return f"the journal says {name} {old}, its counters say {new}"
    if replace(stored, figures=(), details=()).culprit != again.culprit:
        return f"the journal blames {stored.culprit or 'no slice'}, its counters {again.culprit or 'no slice'}"
    return ""
