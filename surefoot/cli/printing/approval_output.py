"""Print what an approver has to know before signing, or convert it to JSON."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time, print_table
from surefoot.core.approvals.version_claims import FactChange
from surefoot.core.journal.events import as_json
from surefoot.core.stages.place_sentences import describe_place
from surefoot.core.verdicts.quantities import describe_accepted, describe_measured
from surefoot.rollout import ApprovalView

_MAX_CHANGES = 40
"""Changes that are printed at most [count]; --json has all."""
_MAX_VALUE_LENGTH = 40


def print_approval_view(view: ApprovalView, changes: Sequence[FactChange] | None, why_none: str = "") -> None:
    """Print everything that an approval is about.

    Args:
        view: What is to be approved.
        changes: What is new in the version; None where MLflow does not say.
        why_none: Why MLflow does not say.
    """
    opened, number = view.rollout.opened, view.rollout.opened.candidate.number
    step = view.policy.approvals[view.rollout.step]
    given = view.rollout.approvals.people()
    console.print(
        f"[bold]{escape(view.policy.model)}[/bold]: version {number} against champion {opened.champion.number},"
        f" rollout {opened.rollout}"
    )
    console.print(f"  artifact {opened.candidate.digest}", markup=False)
    made = ", ".join(opened.authors) or "an author that MLflow does not know"
    ticket = f"; ticket {opened.ticket}" if opened.ticket else ""
    console.print(f"  made by {made}{ticket}; asked for: {opened.reason}", markup=False)
    console.print(
        f"  waits since {format_utc_time(view.rollout.waiting_since)} UTC for {step.quorum} of group '{step.by}', until"
        f" {format_utc_time(view.deadline)} UTC, then: {step.then}; approved so far: {', '.join(given) or 'none'}",
        markup=False,
    )
    for one in view.rollout.approvals.denied:
        console.print(f"  denied by {one.signed.person}: {one.reason or 'no reason given'}", markup=False)
    table = Table("gate", "verdict", "n", "measured", "accepted", "reason", box=None, padding=(0, 1))
    for name, verdict in sorted(view.verdicts.items()):
        outcome = colour_outcome_words(verdict.outcome.value)
        numbers = (describe_measured(verdict), describe_accepted(verdict), verdict.reason)
        table.add_row(name, outcome, f"{verdict.n:,}", *map(escape, numbers))
    print_table(table)
    _print_changes(changes, why_none)
    console.print(
        f"  an approval lets this happen: {describe_place(view.policy, view.next_place, number)}", markup=False
    )


def _print_changes(changes: Sequence[FactChange] | None, why_none: str) -> None:
    if changes is None:
        console.print(f"  what is new in it is not known: {why_none}", markup=False)
        return
    console.print(f"  what is new since the champion: {'' if changes else 'nothing that MLflow knows of'}")
    for one in changes[:_MAX_CHANGES]:
        before, after = (value[:_MAX_VALUE_LENGTH] or "none" for value in (one.before, one.after))
        console.print(f"    {one.kind}: {one.name}: {before} -> {after}", markup=False)
    if len(changes) > _MAX_CHANGES:
        console.print(f"    and {len(changes) - _MAX_CHANGES} more: --json has all")


def approval_json(view: ApprovalView, changes: Sequence[FactChange] | None) -> dict[str, object]:
    """What an approval is about, as JSON."""
    step = view.policy.approvals[view.rollout.step]
    return {
        "model": view.policy.model,
        "rollout": view.rollout.opened.rollout,
        "version": view.rollout.opened.candidate.number,
        "authors": list(view.rollout.opened.authors),
        "ticket": view.rollout.opened.ticket,
        "group": step.by,
        "quorum": step.quorum,
        "approved": list(view.rollout.approvals.people()),
        "denied": [one.signed.person for one in view.rollout.approvals.denied],
        "deadline": view.deadline,
        "verdicts": {name: as_json(verdict) for name, verdict in view.verdicts.items()},
        "changes": None if changes is None else [as_json(one) for one in changes],
        "next": describe_place(view.policy, view.next_place, view.rollout.opened.candidate.number),
    }
