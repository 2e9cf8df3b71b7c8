"""Describe the approval steps of a rollout for its page: who may decide, and what was decided."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from surefoot.core.approvals.approval_checks import Signer
from surefoot.core.approvals.approval_events import (
    ApprovalDenied,
    ApprovalGiven,
    ApprovalOverdue,
    ApprovalRejected,
    ApprovalsVoided,
    describe_approval,
)
from surefoot.core.domain import Stage
from surefoot.core.durations import format_duration
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import StageEntered, decode_event
from surefoot.core.journal.ledger import Rollout
from surefoot.core.policy.policy_types import Approve, Policy
from surefoot.core.stages.place_sentences import describe_place
from surefoot.core.stages.stage_places import next_place
from surefoot.reports.incident_page import format_time
from surefoot.status_page.views.rollout_view import GateRow, build_gate_row

_TONES = {"ApprovalGiven": "good", "ApprovalDenied": "bad", "ApprovalRejected": "bad"}


@dataclass(frozen=True, slots=True)
class _Approver:
    """A person of the group that decides.

    Attributes:
        name: Principal of `configs/allowed_signers`.
        tone: "good", "bad", or empty while the person has not decided.
        said: What the person has decided, or why the person may not.
    """

    name: str
    tone: str
    said: str


@dataclass(frozen=True, slots=True)
class _Decision:
    """What was signed, voided or refused at a step.

    Attributes:
        at: When, UTC.
        tone: "good", "bad" or "warn".
        text: What happened, as one sentence.
        gates: Outcome of each gate when the decision was recorded, as one sentence; empty for others.
    """

    at: str
    tone: str
    text: str
    gates: str


@dataclass(frozen=True, slots=True)
class _ApprovalStepView:
    """One approve step of a rollout.

    Attributes:
        number: One-based number of the step.
        step: What the policy asks for.
        waits: Whether the rollout waits at it now.
        tone: "good", "bad" or "warn".
        state: Where it stands, in words.
        deadline: Until when it waits and the time left; empty where it does not wait.
        approvers: The people who may decide; empty where the file of groups does not say, and once it is past.
        is_past: Whether it is over, or is never reached.
        follows: What an approval lets happen.
        otherwise: What follows without it.
        decisions: What was signed and voided, in order.
    """

    number: int
    step: Approve
    waits: bool
    tone: str
    state: str
    deadline: str
    approvers: tuple[_Approver, ...]
    is_past: bool
    follows: str
    otherwise: str
    decisions: tuple[_Decision, ...]


@dataclass(frozen=True, slots=True)
class _ApprovalPageView:
    """All approve steps of a rollout.

    Attributes:
        steps: The steps, in order; the one that it waits at is first.
        evidence: The latest verdict of each gate.
        refused: Statements that do not count, the latest first.
    """

    steps: tuple[_ApprovalStepView, ...]
    evidence: tuple[GateRow, ...]
    refused: tuple[_Decision, ...]

    @property
    def waiting(self) -> _ApprovalStepView | None:
        """The step that the rollout waits at."""
        return next((one for one in self.steps if one.waits), None)


@dataclass(frozen=True, slots=True)
class ApproverGroupsView:
    """Who may approve, as the file of groups says.

    Attributes:
        groups: People by group.
        names: Other names of a person.
        problem: Why the file does not say it; empty where it does.
    """

    groups: Mapping[str, Collection[str]]
    names: Mapping[str, Collection[str]]
    problem: str = ""


@dataclass(slots=True)
class _History:
    """What has happened at the approve steps of a rollout.

    Attributes:
        reached: Indexes of the steps that it came to.
        passed: Indexes of those from which it went on.
        said: What was decided at each of them, by index.
        refused: Statements that do not count.
    """

    reached: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    said: dict[int, list[_Decision]] = field(default_factory=dict)
    refused: list[_Decision] = field(default_factory=list)


def view_approvals(
    rollout: Rollout, policy: Policy, entries: Sequence[Entry], groups: ApproverGroupsView, now: float
) -> _ApprovalPageView:
    """Describe the approvals of one rollout.

    Args:
        rollout: The rollout.
        policy: The policy that it was opened with.
        entries: Its entries, in order.
        groups: Who may approve.
        now: Time of the policy's clock [Unix seconds].
    """
    history = _history(entries)
    views = [_step_view(rollout, policy, index, history, groups, now) for index in range(len(policy.approvals))]
    return _ApprovalPageView(
        tuple(sorted(views, key=lambda one: not one.waits)),
        tuple(build_gate_row(verdict) for verdict in rollout.latest.values()),
        tuple(history.refused[::-1]),
    )


def _history(entries: Sequence[Entry]) -> _History:
    found, at_step = _History(), -1
    for entry in entries:
        if not (entry.kind.startswith("Approval") or entry.kind == StageEntered.__name__):
            continue
        event = decode_event(entry.kind, entry.data)
        match event:
            case StageEntered():
                if at_step >= 0:
                    found.passed.add(at_step)
                at_step = event.step if event.stage is Stage.AWAITING_APPROVAL else -1
                if at_step >= 0:
                    found.reached.add(at_step)
            case ApprovalRejected():
                found.refused.append(_Decision(format_time(entry.at), "bad", describe_approval(event), ""))
            case ApprovalGiven() | ApprovalDenied() | ApprovalsVoided() | ApprovalOverdue():
                outcomes = event.signed.outcomes if isinstance(event, ApprovalGiven | ApprovalDenied) else {}
                gates = ", ".join(f"{gate} {outcome}" for gate, outcome in outcomes.items())
                told = _Decision(format_time(entry.at), _TONES.get(entry.kind, "warn"), describe_approval(event), gates)
                found.said.setdefault(event.step, []).append(told)
            case _:
                pass
    return found


def _step_view(
    rollout: Rollout, policy: Policy, index: int, history: _History, groups: ApproverGroupsView, now: float
) -> _ApprovalStepView:
    step = policy.approvals[index]
    waits = rollout.stage is Stage.AWAITING_APPROVAL and rollout.step == index and rollout.ending is None
    tone, state = _waiting_state(rollout, step) if waits else _past_state(rollout, index, history)
    deadline = ""
    if waits:
        until = rollout.waiting_since + step.expires
        left = f"{format_duration(until - now)} left" if until > now else "the time is over"
        deadline = f"{format_time(until)} UTC ({left})"
    place = next_place(policy, Stage.AWAITING_APPROVAL, index)
    is_past = not waits and (index in history.reached or rollout.stage.is_terminal)
    return _ApprovalStepView(
        number=index + 1,
        step=step,
        waits=waits,
        tone=tone,
        state=state,
        deadline=deadline,
        approvers=() if is_past else tuple(_approvers(rollout, step, groups, waits=waits)),
        is_past=is_past,
        follows=describe_place(policy, place, rollout.opened.candidate.number),
        otherwise="the rollout is aborted" if step.then == "abort" else "the rollout holds where it is",
        decisions=tuple(history.said.get(index, [])),
    )


def _waiting_state(rollout: Rollout, step: Approve) -> tuple[str, str]:
    """Tone and words for the step that a rollout waits at."""
    denied = len(rollout.approvals.denied)
    told = f"{len(rollout.approvals.people())} of {step.quorum} approvals"
    return ("bad" if denied else "warn"), told + (f", {denied} denied" if denied else "")


def _past_state(rollout: Rollout, index: int, history: _History) -> tuple[str, str]:
    """Tone and words for a step that a rollout does not wait at."""
    if index not in history.reached:
        return "warn", "not reached" if rollout.stage.is_terminal else "not reached yet"
    if index in history.passed:
        return "good", "approved"
    return "bad", "denied" if any(one.tone == "bad" for one in history.said.get(index, [])) else "not approved"


def _approvers(rollout: Rollout, step: Approve, groups: ApproverGroupsView, *, waits: bool) -> Iterator[_Approver]:
    """The people of the group that decides, with what each has said of the step that the rollout waits at."""
    given = {one.signed.person for one in rollout.approvals.given} if waits else set()
    denied = {one.signed.person for one in rollout.approvals.denied} if waits else set()
    for name in groups.groups.get(step.by, ()):
        signer = Signer(name, "", frozenset(groups.names.get(name, ())))
        if signer.is_one_of(rollout.opened.authors):
            yield _Approver(name, "warn", "has made the version: another person has to decide")
        elif name in given:
            yield _Approver(name, "good", "has approved")
        elif name in denied:
            yield _Approver(name, "bad", "has denied")
        else:
            yield _Approver(name, "", "has not decided" if waits else "")
