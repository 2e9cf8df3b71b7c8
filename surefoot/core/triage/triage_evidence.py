"""Describe in sentences the facts that were measured in an incident, and those that are missing."""

from surefoot.core.triage.triage_facts import ColumnShift, TriageFacts
from surefoot.core.verdicts.quantities import as_percent


def shifted_columns(facts: TriageFacts) -> list[tuple[str, ColumnShift]]:
    """Columns that moved further than chance explains: those that restore most first, then those that moved most."""
    moved = [(name, one) for name, one in facts.shifts.items() if one.distance > one.noise]
    return sorted(moved, key=lambda pair: (-(pair[1].restored or 0.0), -pair[1].distance, pair[0]))


def list_evidence(facts: TriageFacts) -> list[str]:
    """The measured facts, each as a sentence."""
    said = []
    if facts.replayed:
        said.append(
            f"{facts.replay_differs:,} of {facts.replayed:,} logged answers differ from those of a fresh process"
        )
    if facts.asked:
        own = f"the version failed {facts.failed:,} of {facts.asked:,} requests"
        said.append(f"{own}; the other one {as_percent(facts.good_failed)} of its own")
    for who, before, after in (
        ("its", facts.loss_before, facts.loss_after),
        ("the good version's", facts.good_before, facts.good_after),
    ):
        if after is not None:
            was = "" if before is None else f", {before:.4g} before the onset"
            said.append(f"{who} mean loss on {facts.labelled:,} requests with labels is {after:.4g}{was}")
    if facts.is_worse_against_good and facts.against_good is not None:
        said.append(
            f"beside the good version's on the same requests its loss is {facts.against_good:.4g} higher than before"
            f" the onset, where chance explains {facts.against_tolerance:.4g}"
        )
    if facts.label_before is not None and facts.label_after is not None:
        said.append(
            f"the mean label was {facts.label_before:.4g} before and is {facts.label_after:.4g} after the onset"
        )
    for name, one in shifted_columns(facts)[:3]:
        back = (
            ""
            if one.restored is None
            else f"; its values of before take away {one.restored:.0%} of the additional loss"
        )
        said.append(
            f"{name} has moved by {one.distance:.2f} of 1, where chance explains {one.noise:.2f} ({one.what}){back}"
        )
    if facts.latency_ms is not None and facts.good_latency_ms is not None:
        said.append(
            f"95 % of its answers came within {facts.latency_ms:.1f} ms, of the other version's within"
            f" {facts.good_latency_ms:.1f} ms"
        )
    if facts.memory_mb is not None and facts.good_memory_mb is not None:
        said.append(f"its process had {facts.memory_mb:,.0f} MB, the other version's {facts.good_memory_mb:,.0f} MB")
    for when, labels in (("before", facts.labels_before), ("after", facts.labels_after)):
        if labels is not None and labels.own is not None and labels.good is not None:
            own, good = f"{labels.own:+.2f}", f"{labels.good:+.2f}"
            said.append(f"rank correlation of answers and labels {when} the onset: {own}, the good version's {good}")
    if facts.repair is not None:
        fix = facts.repair
        said.append(f"{fix.column} {fix.what} takes away {fix.restored:.0%} of the additional loss")
    if facts.confused is not None:
        mixed = facts.confused
        said.append(f"it answers {mixed.what} of {mixed.column} as the good version answers the other one of each pair")
    if facts.group is not None:
        group = facts.group
        said.append(f"requests where {group.column} {group.what} have {group.explained:.0%} of the additional loss")
    return [*said, *(f"not measured: {problem}" for problem in facts.problems)]


def list_missing_facts(facts: TriageFacts) -> list[str]:
    """Facts that are missing and would show the cause, each as a phrase."""
    said = []
    if not facts.labelled:
        said.append("labels of the requests after the onset: none have come yet")
    if not facts.replayed:
        said.append("the logged answers computed again by the same version: that was not possible here")
    if not facts.shifts:
        said.append("the features of requests before the onset: the prediction log holds none")
    return said or ["a person who compares some answers of both versions row by row"]
