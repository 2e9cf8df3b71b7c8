"""Gather the values that the templates of the status page show."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from surefoot import wiring
from surefoot.core.assignment import describe_candidate_share
from surefoot.core.domain import Split
from surefoot.core.errors import NotFound, SurefootError
from surefoot.core.journal.events import ChampionAdopted, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Policy
from surefoot.core.served_versions.version_status import VersionStatus
from surefoot.incidents.incident_reports import report_files
from surefoot.reports.incident_page import format_time
from surefoot.reports.rollout_plots import (
    InlinePlot,
    TimedGateEvaluation,
    draw_gate_estimates,
    draw_traffic_split,
    draw_version_values,
)
from surefoot.status_page.journal_view import ModelRecord
from surefoot.status_page.status_store import StatusStore
from surefoot.status_page.views.drills_view import view_rollback_proof
from surefoot.status_page.views.evidence_needed import evidence_needed
from surefoot.status_page.views.rollout_view import (
    RolloutView,
    group_evaluations_by_gate,
    list_split_changes,
    read_rollout_policy,
    timeline,
    view_rollout,
)
from surefoot.status_page.views.version_view import known_versions

_ADOPTED_OUTCOME = "Adopted"
"""Outcome of a version that served before Surefoot came."""
PAGE_SIZE = 25
"""Rows of a long table that one page shows [count]."""
_MOST_PLOTS = 6
"""Gates that a page draws, those judged last first [count]."""
_MOST_DRAWN = 200
_DRAWN: dict[tuple[str, str], tuple[int, tuple[InlinePlot | None, ...]]] = {}
"""Plots of gates by rollout and gate, with the number of looks that they show."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """How one model stands, for the first screen.

    Attributes:
        name: Registered model.
        link: Address of its page.
        served: What answers, as one sentence.
        tone: "good", "warn" or "bad".
        verdict: Whether it is well, as one sentence.
        changed: What changed last, and when.
        rollout: The open rollout, or None.
        trouble: What is wrong, a sentence each.
        notes: What is worth knowing, a sentence each.
    """

    name: str
    link: str
    served: str
    tone: str
    verdict: str
    changed: str
    rollout: RolloutView | None
    trouble: tuple[str, ...]
    notes: tuple[str, ...]


def build_model_link(model: str) -> str:
    """Address of a model's page."""
    return f"/models/{quote(model, safe='')}"


def _describe_served(ledger: Ledger, live: Split | None) -> str:
    """What answers callers, as one sentence."""
    if live is None:
        champion = ledger.champion
        should = f"version {champion.number} should answer everything, and the engine does not tell" if champion else ""
        return should or "no version is served yet"
    if live.candidate and live.weight:
        share = describe_candidate_share(live.weight, live.units)
        return (
            f"version {live.candidate.number} answers {share} of the units, and version {live.champion.number} the rest"
        )
    if live.candidate and live.mirror:
        mirrored = f"{live.mirror:g} % of the requests are mirrored to version {live.candidate.number}"
        return f"version {live.champion.number} answers everything; {mirrored}"
    return f"version {live.champion.number} answers everything"


def summarize_model(store: StatusStore, model: str) -> ModelSummary:
    """How one model stands."""
    status = store.look(model)
    ledger = status.ledger
    opened = ledger.rollout
    view = view_rollout(ledger, opened, store.policy_time()) if opened else None
    if view:
        view = replace(view, waits=(*status.waits, *view.waits))
    last = next(reversed(tuple(ledger.rollouts.values())), None)
    if view:
        changed = f"{view.title}: {view.where}, since {view.since} UTC"
    elif last:
        told = view_rollout(ledger, last, ledger.now)
        changed = f"{told.title}: {told.outcome}, {format_time(ledger.ended_at or ledger.now)} UTC"
    else:
        changed = "nothing was promoted or taken back yet"
    count = len(status.trouble)
    verdict = "it is well" if not count else "one thing is wrong" if count == 1 else f"{count} things are wrong"
    tone = "bad" if count else "warn" if view else "good"
    served = _describe_served(ledger, status.live)
    return ModelSummary(
        model, build_model_link(model), served, tone, verdict, changed, view, tuple(status.trouble), tuple(status.notes)
    )


def gather_overview_values(store: StatusStore) -> dict[str, object]:
    """What the first page shows."""
    store.touch()
    names = store.view.models
    return {"models": [_summary_or_problem(store, name) for name in names], "title": "all models"}


def _summary_or_problem(store: StatusStore, model: str) -> ModelSummary:
    """How one model stands; what cannot be told of it takes nothing from the others."""
    try:
        return summarize_model(store, model)
    except Exception as error:  # noqa: BLE001 - logged; a fault of one model must not hide all others
        _log.exception("the status page cannot tell how %s stands", model)
        trouble = f"this page cannot tell how it stands ({type(error).__name__}): 'surefoot status {model}'"
        return ModelSummary(
            model, build_model_link(model), "not known", "bad", "one thing is wrong", "", None, (trouble,), ()
        )


def gather_model_values(store: StatusStore, model: str, page: int) -> dict[str, object]:
    """What the page of one model shows.

    Args:
        store: The state.
        model: Registered model.
        page: One-based page of its rollouts.

    Raises:
        NotFound: The journal holds nothing of it.
    """
    store.touch(model)
    record = store.view.record(model)
    if record is None:
        raise NotFound(f"the journal holds nothing of {model}")
    ledger = record.ledger
    rollouts = tuple(ledger.rollouts.values())[::-1]
    pages = max(1, -(-len(rollouts) // PAGE_SIZE))
    page = min(max(page, 1), pages)
    shown = rollouts[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    policy = read_current_policy(store, model)
    known = tuple(ledger.incidents.known.values())[::-1][:PAGE_SIZE]
    incidents = [(one, report_files(store.config, model, one.name)[0].is_file()) for one in known]
    return {
        "title": model,
        "model": model,
        "summary": summarize_model(store, model),
        "rollouts": [view_rollout(ledger, one, ledger.now) for one in shown],
        "page": page,
        "pages": pages,
        "versions": list_version_statuses(record)[:PAGE_SIZE],
        "all_versions": len(known_versions(ledger, record.statuses())),
        "incidents": incidents,
        "timeline": timeline(record.recent, everything=False)[:15],
        "mlflow": store.config.mlflow,
        "drills": view_rollback_proof(ledger, policy.drill if policy else None, store.policy_time()),
        "target": ledger.target(),
        "held": ledger.rollout is not None and ledger.rollout.held is not None,
        "time": format_time,
    }


def read_current_policy(store: StatusStore, model: str) -> Policy | None:
    """The policy in configs/; None where there is none, or it cannot be read, which pages say at their top."""
    try:
        return wiring.read_policies(store.config).get(model)
    except (SurefootError, OSError):
        return None


def list_version_statuses(record: ModelRecord) -> list[VersionStatus]:
    """Every version that the journal names, those that something happened to last first."""
    found = dict(record.statuses())
    for entry in record.unjudged:
        if entry.kind == ChampionAdopted.__name__:
            event = decode_event(entry.kind, entry.data)
            if isinstance(event, ChampionAdopted) and event.champion.number not in found:
                number, why = event.champion.number, "the registry's champion when Surefoot came"
                found[number] = VersionStatus(number, _ADOPTED_OUTCOME, why, "", entry.at, entry.wall, over=False)
    return sorted(found.values(), key=lambda one: one.at, reverse=True)


def gather_rollout_values(store: StatusStore, model: str, rollout: str, *, everything: bool) -> dict[str, object]:
    """What the page of one rollout shows.

    Args:
        store: The state.
        model: Registered model.
        rollout: Id of the rollout.
        everything: Whether the timeline shows each look and each intent.

    Raises:
        NotFound: The journal holds no such rollout.
    """
    store.touch(model)
    record = store.view.record(model)
    found = record.ledger.rollouts.get(rollout) if record else None
    if record is None or found is None:
        raise NotFound(f"{model} has no rollout {rollout}")
    with store.view.lock:
        entries = list(record.by_rollout.get(rollout, ()))
    looks = group_evaluations_by_gate(entries)
    latest = sorted(looks, key=lambda gate: looks[gate][-1][0], reverse=True)[:_MOST_PLOTS]
    until = store.policy_time() if not found.stage.is_terminal else entries[-1].at
    plots = [draw_traffic_split(list_split_changes(entries), until)]
    for gate in latest:
        plots += _gate_plots(rollout, gate, looks[gate])
    pages = store.config.prefect_pages
    now, waits = store.policy_time(), not found.stage.is_terminal and found.ending is None
    policy = read_rollout_policy(found)
    summary = summarize_model(store, model)
    view = summary.rollout if summary.rollout and summary.rollout.id == rollout else None
    return {
        "title": f"{model}: rollout {rollout}",
        "model": model,
        "summary": summary,
        "view": view or view_rollout(record.ledger, found, now),
        "needed": {gate: evidence_needed(seen, now, waits=waits) for gate, seen in looks.items()},
        "asks_approval": policy is not None and bool(policy.approvals),
        "reason": found.opened.reason,
        "plots": [one for one in plots if one is not None],
        "timeline": timeline(entries, everything=everything),
        "everything": everything,
        "link": build_model_link(model),
        "mlflow": f"{store.config.mlflow}/#/models/{quote(model, safe='')}/versions/{found.opened.candidate.number}",
        "prefect": f"{pages}/runs?flow-run.tags=rollout:{rollout}",
    }


def _gate_plots(rollout: str, gate: str, looks: Sequence[TimedGateEvaluation]) -> tuple[InlinePlot | None, ...]:
    """The plots of a gate; the same looks are drawn once."""
    key = rollout, gate
    known = _DRAWN.get(key)
    if known is None or known[0] != len(looks):
        if len(_DRAWN) >= _MOST_DRAWN:
            _DRAWN.clear()
        known = _DRAWN[key] = len(looks), (draw_gate_estimates(gate, looks), draw_version_values(gate, looks))
    return known[1]
