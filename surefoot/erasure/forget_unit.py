"""Remove the records of one unit, such as a customer, from the logs, tables and reports of a model."""

import fcntl
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.evidence_store.evidence_erasure import erase_from_evidence_store
from surefoot.adapters.predictions.erasure.erasure_record import (
    ErasureProgressReport,
    ErasureRecord,
    erasure_record_path,
    read_unfinished_records,
)
from surefoot.adapters.predictions.erasure.log_erasure import erase_from_log
from surefoot.adapters.predictions.erasure.requests_to_erase import (
    RequestsToErase,
    UnitRequests,
    find_feature_texts,
    find_texts_only_in_requests,
    find_unit_requests,
)
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.predictions.table_publication import remove_unfinished_files
from surefoot.core.erasure.erasure_events import ErasureIntended, UnitForgotten
from surefoot.core.errors import Conflict, NotFound, Rejected
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import Event, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.naming.model_names import model_file_name
from surefoot.erasure.exposure_files import erase_from_exposure_files, find_exposed_requests
from surefoot.erasure.text_erasure import (
    ErasedNamePatterns,
    erase_from_texts,
    find_quoted_texts,
    find_quoting_journal_entries,
)
from surefoot.exposure import list_policies_ever_in_force, list_unit_spellings
from surefoot.incidents.incident_reports import write_report
from surefoot.rollout import Ports, retry_on_conflict
from surefoot.settings import Settings

ServerTextReplacer = Callable[[Callable[[str], tuple[str, int]]], int]
"""Replaces names in every page of a server by a function of the text; gives how many places were changed [count]."""
_MAX_ROUNDS = 5
"""How often the log is looked through for requests that came meanwhile [count]."""
_DIGEST_BYTES = 12


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Whose records are removed.

    Attributes:
        unit: The unit as callers send it; empty where only requests are named.
        requests: Ids of further requests.
        reason: Why.
        pseudonymise: Whether records that an incident holds get pseudonyms; without it they are a reason to refuse.
    """

    unit: str
    requests: tuple[str, ...]
    reason: str
    pseudonymise: bool = False


def forget_unit(
    config: Settings,
    ports: Ports,
    model: str,
    wanted: ForgetRequest | None,
    report: ErasureProgressReport = lambda _place, _done, _total: None,
    servers: Mapping[str, ServerTextReplacer] | None = None,
) -> list[UnitForgotten]:
    """Finish erasures of a model that were killed, then remove the records of a unit.

    Args:
        config: Where everything is.
        ports: Journal and clock.
        model: Registered model.
        wanted: Whose records are removed; None only finishes.
        report: Is told how far it is.
        servers: Replaces names in the pages of a server, by what these are called; none is looked at without it.

    Returns:
        What was journalled at the end of each erasure.

    Raises:
        NotFound: Nothing is known of the model.
        Rejected: An incident holds records of the unit; nothing has happened.
        Conflict: Another process erases or compacts.
        SurefootError: Something cannot be read or written; the next call goes on from there.
    """
    if not ports.journal.read(model) and model not in wiring.list_logged_models(config):
        raise NotFound(f"nothing of {model} is in the journal or in the log: check the name")
    folder = config.home / "erasure" / model_file_name(model)
    with _hold_erasures(folder):
        remove_unfinished_files(folder)
        doing = _Erasing(config, ports, model, report, servers or {})
        done = [_finish(doing, record) for record in read_unfinished_records(folder)]
        if wanted is not None:
            record = _begin(config, ports.journal.read(model), model, wanted, folder)
            done.append(_finish(doing, record))
    return done


@contextmanager
def _hold_erasures(folder: Path) -> Iterator[None]:
    """Be the only process that erases records of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process erases records of {folder.name}: wait until that is done") from None
        yield


def _begin(
    config: Settings, entries: tuple[Entry, ...], model: str, wanted: ForgetRequest, folder: Path
) -> ErasureRecord:
    """Find what is to be removed and write it down; nothing is removed yet."""
    ledger = fold_entries(model, entries)
    policies = tuple(list_policies_ever_in_force(config, ledger))
    spellings = list_unit_spellings(config, policies, wanted.unit) if wanted.unit else ()
    columns = tuple(dict.fromkeys(policy.unit for policy in policies if policy.unit)) if wanted.unit else ()
    found = find_unit_requests(PredictionLog(config.log), model, spellings, columns, wanted.requests).times
    listed = find_exposed_requests(config.home, model, spellings, wanted.requests)
    times = dict.fromkeys(wanted.requests, float("inf")) | listed | dict(found)
    held = _held_requests(ledger, UnitRequests(times))
    if held and not wanted.pseudonymise:
        names = ", ".join(dict.fromkeys(name for some in held.values() for name in some))
        raise Rejected(
            f"incident {names} holds {len(held):,} of {len(times):,} requests as evidence: lift the hold with 'surefoot"
            f" incident release', or give --pseudonymise"
        )
    log, key = PredictionLog(config.log), _erasure_key(config)
    quoted = find_quoted_texts(config.home, model, entries, find_feature_texts(log, model, times))
    values = find_texts_only_in_requests(log, model, times, quoted)
    requests = {one: _keyed_digest(key, f"request {one}") if one in held else None for one in times}
    unit = _keyed_digest(key, f"unit {wanted.unit}" if wanted.unit else f"requests {sorted(wanted.requests)}")
    erasure = secrets.token_hex(6)
    record = ErasureRecord(
        erasure_record_path(folder, erasure),
        erasure,
        unit,
        wanted.reason,
        RequestsToErase(spellings, columns, requests, f"forgotten-{unit}", values),
        tuple(dict.fromkeys(name for some in held.values() for name in some)),
    )
    record.save()
    return record


def _held_requests(ledger: Ledger, found: UnitRequests) -> dict[str, list[str]]:
    """Incidents that hold each request as evidence, by request; requests that no incident holds are left out."""
    held: dict[str, list[str]] = {}
    for one in ledger.incidents.known.values():
        if one.held is not None:
            for request in found.within(one.held.since, one.held.until):
                held.setdefault(request, []).append(one.name)
    return held


def _erasure_key(config: Settings) -> bytes:
    return hashlib.sha256(f"forget {config.token}".encode()).digest()


def _keyed_digest(key: bytes, text: str) -> str:
    """Digest that tells nothing of a text without the installation's secret."""
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES, key=key).hexdigest()


@dataclass(frozen=True, slots=True)
class _Erasing:
    """Where erasures are done, and what is told of them."""

    config: Settings
    ports: Ports
    model: str
    report: ErasureProgressReport
    servers: Mapping[str, ServerTextReplacer]


def _finish(doing: _Erasing, record: ErasureRecord) -> UnitForgotten:
    """Do all that is left of an erasure; each step is safe to repeat."""
    config, ports, model, report = doing.config, doing.ports, doing.model, doing.report
    known = _events_of(ports.journal.read(model), record.erasure)
    for event in known:
        if isinstance(event, UnitForgotten):  # killed between the journal and this file
            record.file.unlink()
            return event
    if not known:
        intended = ErasureIntended(
            record.erasure, record.unit, record.reason, len(record.erased.requests), record.held_by
        )
        retry_on_conflict(lambda: ports.append(ports.ledger(model), intended))
    if ports.ledger(model).champion is not None:
        wiring.record_answer_counts(config, ports, model, always=True)  # what is removed can never be counted again
    folder = config.log / model_file_name(model)
    for place in ("evidence", "exposure", "corrections", "incidents"):
        remove_unfinished_files(config.home / place / model_file_name(model))
    for _ in range(_MAX_ROUNDS):
        erase_from_log(folder, record, report)
        if not _add_new_requests(config, model, record):
            break
    erase_from_evidence_store(wiring.open_evidence_store(config, model), folder, record, report)
    erase_from_exposure_files(config.home, model, record, report)
    for incident in erase_from_texts(config.home, model, record, report):
        if incident in ports.ledger(model).incidents.known:
            write_report(config, ports, model, incident)
    patterns = ErasedNamePatterns(record.erased)
    for place, replace_names in doing.servers.items():
        report(place, 0, 1)
        record.count(place, "", replace_names(patterns.replace_in))
        report(place, 1, 1)
    entries = ports.journal.read(model)
    removed, pseudonymised = record.totals()
    quoted = find_quoting_journal_entries(entries, record.erased)
    event = UnitForgotten(
        record.erasure, record.unit, removed, pseudonymised, dict(record.replaced), dict(record.digests), quoted
    )
    retry_on_conflict(lambda: ports.append(ports.ledger(model), event))
    record.file.unlink()
    return event


def _events_of(entries: Iterable[Entry], erasure: str) -> list[ErasureIntended | UnitForgotten]:
    kinds = (ErasureIntended.__name__, UnitForgotten.__name__)
    found: list[Event] = [decode_event(entry.kind, entry.data) for entry in entries if entry.kind in kinds]
    return [one for one in found if isinstance(one, ErasureIntended | UnitForgotten) and one.erasure == erasure]


def _add_new_requests(config: Settings, model: str, record: ErasureRecord) -> bool:
    """Look for requests of the unit that came while others were removed; whether there are any."""
    erased = record.erased
    found = find_unit_requests(PredictionLog(config.log), model, erased.spellings, erased.columns, ())
    fresh = {one: None for one in found.times if one not in erased.requests}
    if fresh:
        record.erased = replace(erased, requests={**erased.requests, **fresh})
        record.save()
    return bool(fresh)
