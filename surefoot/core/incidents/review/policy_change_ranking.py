"""Define an incident's review, and rank its back-tested policy changes by how soon they detect the incident."""

import datetime as dt
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from surefoot.core.durations import format_duration
from surefoot.core.incidents.incident_report import IncidentReport
from surefoot.core.incidents.review.incident_case import CaseKind, IncidentCase
from surefoot.core.incidents.review.policy_change import Detection, PolicyChange
from surefoot.core.naming.model_names import model_file_name

BEFORE, AFTER, PATCH = "before", "after", "proposal.patch"
"""In the folder of a case: the policy as it was reviewed, as it is proposed, and the difference of the two."""


@dataclass(frozen=True, slots=True)
class BacktestedPolicy:
    """A policy that was back-tested on the records of an incident.

    Attributes:
        change: How it differs from the policy that is in force; None for that policy itself.
        stopped_at: When a gate stopped the version [Unix seconds]; None where none did.
        gate: The gate.
        where: Stage of the rollout, or the standing watch.
        requests: Requests that callers got an answer of the version to until then [count].
        reason: Why it was stopped, or was not.
        false_alarms: Gates that failed while nothing was wrong [count].
        trials: What they are counted in: rollouts of the good version against itself, or years of a watch [count].
    """

    change: PolicyChange | None
    stopped_at: float | None
    gate: str
    where: str
    requests: int
    reason: str = ""
    false_alarms: int = 0
    trials: float = 0.0


def _is_sooner(one: BacktestedPolicy, other: BacktestedPolicy) -> bool:
    """Whether a policy stops the version sooner than another one.

    Law: never where it is later by time or by requests; so a choice among such policies is never later.
    """
    if one.stopped_at is None:
        return False
    if other.stopped_at is None:
        return True
    now, before = (one.stopped_at, one.requests), (other.stopped_at, other.requests)
    return all(a <= b for a, b in zip(now, before, strict=True)) and now != before


def rank_by_detection(in_force: BacktestedPolicy, tried: Sequence[BacktestedPolicy]) -> tuple[BacktestedPolicy, ...]:
    """The policies that stop the version sooner than the one in force, the best first.

    Those under which no caller got an answer of the version come first, then the earliest, then those with the fewest
    requests that it answered, then those with the fewest edits.
    """
    sooner = [one for one in tried if one.change is not None and _is_sooner(one, in_force)]
    return tuple(sorted(sooner, key=_rank))


def _rank(one: BacktestedPolicy) -> tuple[bool, float, int, int]:
    at = math.inf if one.stopped_at is None else one.stopped_at
    return (one.requests > 0, at, one.requests, len(one.change.edits) if one.change else 0)


def compute_allowed_false_alarms(budget: float, trials: float) -> int:
    """False alarms that a budget allows in so many trials [count].

    Args:
        budget: False alarms of one trial [count]: of a rollout a probability, of a watch a number a year.
        trials: Rollouts, or years.
    """
    return math.floor(budget * trials + 1e-9)


def is_within_false_alarm_budget(one: BacktestedPolicy, budget: float) -> bool:
    """Whether a policy has raised no more false alarms than its budget allows."""
    return one.false_alarms <= compute_allowed_false_alarms(budget, one.trials)


def choose_policy_change(
    in_force: BacktestedPolicy, tried: Sequence[BacktestedPolicy], budget: float
) -> BacktestedPolicy | None:
    """The best change that keeps to the budget; None where no change is sooner and keeps to it.

    Law: what is chosen stops the version no later than the policy in force, and has no more false alarms than the
        budget allows.
    """
    return next((one for one in rank_by_detection(in_force, tried) if is_within_false_alarm_budget(one, budget)), None)


@dataclass(frozen=True, slots=True)
class IncidentReview:
    """What a review found.

    Attributes:
        report: The incident.
        case: Its regression case.
        folder: Folder of the case, as a path in the project.
        found: What stopped the version in the incident.
        in_force: What the policy that is in force makes of the case.
        tried: What each change makes of it, in the order in which they were tried.
        refused: Changes that make no valid policy, and why.
        proposed: The change that is proposed; None where none is sooner at an allowed cost.
        diff: The change as a unified diff; empty without one.
        budget: False alarms that the policy allows, of a rollout or of a year of its watch [count].
        bake_alarms: Bound on the false alarms of the bake, before and with the proposal [count per year].
    """

    report: IncidentReport
    case: IncidentCase
    folder: str
    found: Detection
    in_force: BacktestedPolicy
    tried: tuple[BacktestedPolicy, ...]
    refused: tuple[tuple[str, str], ...]
    proposed: BacktestedPolicy | None
    diff: str
    budget: float
    bake_alarms: tuple[float, float]

    @property
    def is_watch(self) -> bool:
        """Whether the standing watch had to stop the version."""
        return self.case.kind is CaseKind.WATCH

    @property
    def sooner_s(self) -> float | None:
        """How much sooner the proposal stops the version than the policy in force [seconds].

        None without a proposal, and where the policy in force never stops it.
        """
        if self.proposed is None or self.proposed.stopped_at is None or self.in_force.stopped_at is None:
            return None
        return self.in_force.stopped_at - self.proposed.stopped_at

    def command(self, which: str, draws: int = 0) -> str:
        """The command that repeats a back-test, typed in the folder of the project.

        Args:
            which: The folder of the policy: BEFORE or AFTER.
            draws: Rollouts of the good version against itself [count]; 0 to play the case.
        """
        policy = f"{self.folder}/{which}/{model_file_name(self.case.model)}.yaml"
        words = ["surefoot", "backtest", self.case.model, "--case", self.folder, "--policy", policy]
        return shlex.join([*words, *(["--against-itself", str(draws)] if draws else [])])


def describe_backtest_outcome(case: IncidentCase, one: BacktestedPolicy) -> str:
    """What becomes of the version under a policy, as one sentence without its end."""
    answered = f"callers got an answer of it to {one.requests:,} requests by then"
    if one.stopped_at is None:
        return f"version {case.bad} is not stopped: {' '.join(one.reason.split())}; {answered}"
    began, what = (case.onset, "the onset") if case.kind is CaseKind.WATCH else (case.opened, "its replay had passed")
    when = f"{format_utc(one.stopped_at)}, {format_duration(one.stopped_at - began)} after {what}"
    return f"gate {one.gate} stops version {case.bad} ({one.where}) at {when}; {answered}"


def find_case_problem(case: IncidentCase, one: BacktestedPolicy) -> str:
    """Why a policy does not do what a case asks, in one line; empty where it does."""
    if one.stopped_at is None:
        return f"would not stop version {case.bad}: {' '.join(one.reason.split())}"
    if one.stopped_at > case.stop_by:
        late = format_duration(one.stopped_at - case.stop_by)
        return f"would stop version {case.bad} at {format_utc(one.stopped_at)}, {late} too late"
    return ""


def format_utc(at: float) -> str:
    """A time for people."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
