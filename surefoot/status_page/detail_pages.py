"""Gather the values for the detail pages of versions, drills and approvals."""

from pathlib import Path
from urllib.parse import quote

from surefoot.adapters.approvals.approver_files import read_approver_groups
from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.served_versions.version_status import rollout_title
from surefoot.incidents.incident_reports import report_files
from surefoot.reports.incident_page import format_time
from surefoot.status_page.journal_view import ModelRecord
from surefoot.status_page.page_content import (
    PAGE_SIZE,
    build_model_link,
    list_version_statuses,
    read_current_policy,
    summarize_model,
)
from surefoot.status_page.status_store import StatusStore
from surefoot.status_page.views.approval_view import ApproverGroupsView, view_approvals
from surefoot.status_page.views.drills_view import view_drills
from surefoot.status_page.views.rollout_view import read_rollout_policy, view_rollout
from surefoot.status_page.views.version_view import known_versions, view_version


def _record(store: StatusStore, model: str) -> ModelRecord:
    """What the journal says of a model.

    Raises:
        NotFound: The journal holds nothing of it.
    """
    store.touch(model)
    record = store.view.record(model)
    if record is None:
        raise NotFound(f"the journal holds nothing of {model}")
    return record


def gather_versions_values(store: StatusStore, model: str, page: int) -> dict[str, object]:
    """What the page of all versions of a model shows.

    Args:
        store: The state.
        model: Registered model.
        page: One-based page of the versions.

    Raises:
        NotFound: The journal holds nothing of the model.
    """
    record = _record(store, model)
    with store.view.lock:
        versions = list_version_statuses(record)
    pages = max(1, -(-len(versions) // PAGE_SIZE))
    page = min(max(page, 1), pages)
    return {
        "title": f"{model}: versions",
        "model": model,
        "link": build_model_link(model),
        "versions": versions[(page - 1) * PAGE_SIZE : page * PAGE_SIZE],
        "count": len(versions),
        "page": page,
        "pages": pages,
        "time": format_time,
    }


def gather_version_values(store: StatusStore, model: str, number: str) -> dict[str, object]:
    """What the page of one version shows.

    Args:
        store: The state.
        model: Registered model.
        number: Version.

    Raises:
        NotFound: The journal does not name the version.
    """
    record = _record(store, model)
    ledger = record.ledger
    versions = known_versions(ledger, record.statuses()).get(number)
    if versions is None:
        raise NotFound(f"the journal names no version {number} of {model}")
    with store.view.lock:
        unjudged = list(record.unjudged)
    view = view_version(ledger, number, versions, unjudged, record.by_rollout, store.policy_time())
    return {
        "title": f"{model}: version {number}",
        "model": model,
        "link": build_model_link(model),
        "summary": summarize_model(store, model),
        "view": view,
        "incidents": [(one, report_files(store.config, model, one.name)[0].is_file()) for one in view.incidents],
        "mlflow": f"{store.config.mlflow}/#/models/{quote(model, safe='')}/versions/{quote(number, safe='')}",
        "time": format_time,
    }


def find_incident_report(store: StatusStore, model: str, incident: str) -> tuple[Path, dict[str, object]]:
    """The report of an incident, and what the links above it show.

    Args:
        store: The state.
        model: Registered model.
        incident: Id of the incident.

    Raises:
        NotFound: The journal holds no such incident, or its report is not written yet.
    """
    record = store.view.record(model)
    found = record.ledger.incidents.known.get(incident) if record is not None else None
    if record is None or found is None:
        raise NotFound(f"{model} has no incident {incident}")
    page = report_files(store.config, model, incident)[0]
    if not page.is_file():
        raise NotFound(f"incident {incident} is not reported yet: 'reconcile' writes its report")
    link, number = build_model_link(model), found.version.number
    rollouts = [one for one in dict.fromkeys((found.opened.rollout, found.rollback)) if one in record.ledger.rollouts]
    more = [(rollout_title(record.ledger.rollouts[one]), f"{link}/rollouts/{one}") for one in rollouts]
    more.append((f"version {number}", f"{link}/versions/{quote(number, safe='')}"))
    return page, {"model": model, "incident": incident, "link": link, "more": more}


def gather_drills_values(store: StatusStore, model: str) -> dict[str, object]:
    """What the page of a model's drills shows.

    Args:
        store: The state.
        model: Registered model.

    Raises:
        NotFound: The journal holds nothing of the model.
    """
    record = _record(store, model)
    with store.view.lock:
        unjudged = list(record.unjudged)
    policy = read_current_policy(store, model)
    section = policy.drill if policy else None
    return {
        "title": f"{model}: drills",
        "model": model,
        "link": build_model_link(model),
        "view": view_drills(record.ledger, unjudged, section, store.policy_time()),
    }


def gather_approval_values(store: StatusStore, model: str, rollout: str) -> dict[str, object]:
    """What the page of a rollout's approvals shows.

    Args:
        store: The state.
        model: Registered model.
        rollout: Id of the rollout.

    Raises:
        NotFound: The journal holds no such rollout.
    """
    record = _record(store, model)
    found = record.ledger.rollouts.get(rollout)
    if found is None:
        raise NotFound(f"{model} has no rollout {rollout}")
    with store.view.lock:
        entries = list(record.by_rollout.get(rollout, ()))
    now, policy, groups = store.policy_time(), read_rollout_policy(found), _groups(store)
    return {
        "title": f"{model}: approval of rollout {rollout}",
        "model": model,
        "link": build_model_link(model),
        "rollout": view_rollout(record.ledger, found, now),
        "opened": found.opened,
        "view": view_approvals(found, policy, entries, groups, now) if policy else None,
        "groups_problem": groups.problem,
    }


def _groups(store: StatusStore) -> ApproverGroupsView:
    """Who may approve."""
    try:
        found = read_approver_groups(store.config.configs)
    except (NotFound, PolicyInvalid, OSError) as error:
        return ApproverGroupsView({}, {}, str(error))
    return ApproverGroupsView(found.groups, {name: person.mlflow for name, person in found.people.items()})
