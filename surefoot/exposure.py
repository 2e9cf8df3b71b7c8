"""Write exposure lists (requests that a rolled-back version answered), and correct those answers."""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.answer_comparison import AnswerComparison, write_answer_comparison
from surefoot.adapters.served_answers.corrected_answers import CorrectionSources, compute_corrected_answers
from surefoot.adapters.served_answers.exposed_requests import ExposureQuery, list_exposed_requests
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import LogPolicy, Version
from surefoot.core.errors import NotFound, Rejected, SurefootError
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import Event, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.served_version_events import CorrectionsWritten, ExposureListed
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import Policy, SlicedGate
from surefoot.core.served_versions.exposure_periods import (
    exposure_periods,
    last_rolled_back_version,
    version_rolled_back_by,
)
from surefoot.gateway.log.redaction import LogRedactor
from surefoot.rollout import Ports, retry_on_conflict
from surefoot.settings import Settings

_LONGEST_LOGGED_UNIT = 1000
"""Units of more characters stand in the log as a digest [characters]."""
_CORRECTION_COLUMNS = {
    "request": "request",
    "row": "row",
    "occurrence": "occurrence",
    "at": "at",
    "unit": "unit",
    "version": "version",
    "answer": "answer",
    "corrected_by": "good_version",
    "corrected_answer": "good_answer",
    "changed": "changed",
    "unknown": "unknown",
}
"""Columns of a table of corrections, by what they are called among exposed requests."""


@dataclass(frozen=True, slots=True)
class ExposureListSpec:
    """A list of exposed requests to make: the version whose answers it holds, and what the log's policy hides of them.

    Attributes:
        version: The version that answered.
        rollout: Id of the rollout that took it back, or whose answers alone are listed; empty without one.
        question: What is asked of the log.
        good: The versions that would have answered.
        notes: What the log's policy keeps from being known, in words.
    """

    version: Version
    rollout: str
    question: ExposureQuery
    good: tuple[Version, ...]
    notes: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Name of the file of the list, without an ending."""
        return f"version-{self.version.number}" + (f"-{self.rollout}" if self.rollout else "")


def specify_exposure_list(
    config: Settings, model: str, entries: Sequence[Entry], *, number: str = "", rollout: str = "", unit: str = ""
) -> ExposureListSpec:
    """Find the version whose answers are to be listed: by number, by rollout, or else the last one rolled back.

    Args:
        config: Where everything is.
        model: Registered model.
        entries: Its whole journal.
        number: The version; the one that was taken back last without it.
        rollout: Id of a rollout, or how it begins: a promotion for its own answers, a rollback for all of what it took.
        unit: The one unit that is asked about; all when empty.

    Raises:
        NotFound: The journal holds nothing of the model, the version or the rollout.
        Rejected: No version was taken back, so one has to be named.
    """
    ledger = fold_entries(model, entries)
    if not entries:
        raise NotFound(f"the journal holds nothing of {model}")
    own = ""
    if rollout:
        identity = _known_rollout(ledger, rollout)
        opened = ledger.rollouts[identity].opened
        promotion = opened.kind == "promotion"
        version, own, named = (
            opened.candidate if promotion else opened.champion,
            identity if promotion else "",
            identity,
        )
    elif number:
        version, named = _known_version(ledger, number), ""
    else:
        last = last_rolled_back_version(ledger)
        if last is None:
            raise Rejected(f"no version of {model} was taken back from callers: name one with --version")
        version, named = last.version, last.rollout
        own = last.rollout if last.opened.kind == "promotion" else ""
    policies = tuple(list_policies_ever_in_force(config, ledger))
    kept = tuple(policy.log_policy for policy in policies)
    periods = exposure_periods(model, entries, version)
    question = ExposureQuery(
        model=model,
        number=version.number,
        periods=periods,
        groups=_group_columns(policies),
        dropped=frozenset(column for one in kept for column in one.dropped),
        hashed=frozenset(column for one in kept for column in one.hashed),
        rollout=own,
        units=list_unit_spellings(config, policies, unit) if unit else (),
    )
    good = {one.good.digest: one.good for one in periods if one.good}
    return ExposureListSpec(version, named, question, tuple(good.values()), _notes(question, kept))


def _known_rollout(ledger: Ledger, begins: str) -> str:
    found = [one for one in ledger.rollouts if one.startswith(begins)]
    if len(found) != 1:
        known = ", ".join(ledger.rollouts) or "none"
        raise NotFound(
            f"{begins} names {len(found) or 'no'} rollout{'s' if found else ''} of {ledger.model}; known: {known}"
        )
    return found[0]


def _known_version(ledger: Ledger, number: str) -> Version:
    named = [version for item in ledger.rollouts.values() for version in (item.opened.champion, item.opened.candidate)]
    versions = {version.number: version for version in (*ledger.proven, *named)}
    if number not in versions:
        raise NotFound(
            f"the journal knows no version {number} of {ledger.model}; known: {', '.join(versions) or 'none'}"
        )
    return versions[number]


def list_policies_ever_in_force(config: Settings, ledger: Ledger) -> Iterable[Policy]:
    """Every policy that may have been in force: that of today, and those of all rollouts that can be read."""
    if today := wiring.read_policies(config).get(ledger.model):
        yield today
    for item in ledger.rollouts.values():
        if item.opened.policy:
            with suppress(SurefootError, ValueError):
                yield parse_policy(item.opened.policy)


def _group_columns(policies: Iterable[Policy]) -> tuple[str, ...]:
    gates = (gate for policy in policies for gate in policy.gates.values() if isinstance(gate, SlicedGate))
    return tuple(dict.fromkeys(column for gate in gates for column in gate.by))


def list_unit_spellings(config: Settings, policies: Iterable[Policy], unit: str) -> tuple[str, ...]:
    """How a unit may stand in the log: as it is, spelt canonically, or as a digest where it is hidden or long."""
    text = canonical_text(unit) or unit
    columns = {policy.unit for policy in policies if policy.unit}
    made = {unit, text, *(LogRedactor(LogPolicy(hashed=(c,)), config.token, c).keyed_digest(text) for c in columns)}
    if len(text) > _LONGEST_LOGGED_UNIT:
        made.add(hashlib.blake2b(text.encode(), digest_size=12).hexdigest())
    return tuple(sorted(made))


def _notes(question: ExposureQuery, kept: Iterable[LogPolicy]) -> tuple[str, ...]:
    """What the log does not hold by the policies, in words."""
    notes = []
    if question.hashed:
        notes.append(f"the log holds digests of: {', '.join(sorted(question.hashed))}")
    if question.dropped:
        notes.append(f"the log drops: {', '.join(sorted(question.dropped))}")
    share = min((one.share for one in kept), default=100.0)
    if share < 100.0:  # noqa: PLR2004 - percent
        notes.append(f"the log keeps the features of {share:g} % of the requests")
    return tuple(f"{note}: what cannot be known of that is counted as unknown" for note in notes)


def write_exposure(
    config: Settings, exposure: ExposureListSpec, made: Path, *, score: bool
) -> tuple[AnswerComparison, dict[str, str]]:
    """Write the list of exposed requests.

    Args:
        config: Where everything is.
        exposure: Whose answers.
        made: Where the list goes.
        score: Whether the good versions are asked what they would have said.

    Returns:
        What was written, and what kept a good version from answering, by its number.

    Raises:
        EvidenceUnavailable: The log cannot be read, or the list cannot be written.
    """
    return _write(config, exposure, made, load=score)


def _write(
    config: Settings,
    exposure: ExposureListSpec,
    made: Path,
    *,
    load: bool,
    strict: bool = False,
    names: dict[str, str] | None = None,
) -> tuple[AnswerComparison, dict[str, str]]:
    models = wiring.make_version_processes(config)
    store = wiring.open_evidence_store(config, exposure.question.model)
    who = CorrectionSources(
        {one.number: one for one in exposure.good},
        models.start_scorer if load else None,
        store.answers.files_overlapping,
        strict,
        build_column_decryptor(config.log, exposure.question.model),
    )
    with tempfile.TemporaryDirectory(prefix="surefoot-exposure-") as scratch:
        listed = list_exposed_requests(PredictionLog(config.log), exposure.question, Path(scratch))
        good = compute_corrected_answers(listed, exposure.question, who, Path(scratch))
        table = write_answer_comparison(listed, good, exposure.question.groups, made, names=names)
    return table, dict(good.problems)


def exposure_file(config: Settings, exposure: ExposureListSpec) -> Path:
    """Where the list of all exposed requests is kept."""
    return config.home / "exposure" / model_file_name(exposure.question.model) / f"{exposure.file_name}.parquet"


def journal_exposure(config: Settings, ports: Ports, exposure: ExposureListSpec, table: AnswerComparison) -> bool:
    """Journal that a list was written, with its counts; whether the journal did not say so already."""
    event = ExposureListed(
        exposure.rollout,
        exposure.version.number,
        str(table.file.relative_to(config.home)),
        table.digest,
        table.rows,
        table.units,
        table.phases,
        table.unknown,
        table.changed,
        table.groups,
    )
    return _journal_once(ports, exposure.question.model, event)


def _journal_once(ports: Ports, model: str, event: ExposureListed | CorrectionsWritten) -> bool:
    """Append an event unless the last one of its file says the same."""
    said = [decode_event(one.kind, one.data) for one in ports.journal.read(model) if one.kind == type(event).__name__]
    last: Event | None = next((one for one in reversed(said) if getattr(one, "file", "") == event.file), None)
    if last == event:
        return False
    retry_on_conflict(lambda: ports.append(ports.ledger(model), event))
    return True


def write_due_exposure(config: Settings, ports: Ports, model: str) -> str:
    """Write the exposure list of the earliest rollback that has none yet, if there is one; no model is called.

    Returns:
        One line about what was listed; empty when nothing was.

    Raises:
        SurefootError: The log cannot be read, or the list cannot be written.
    """
    entries = ports.journal.read(model)
    ledger = fold_entries(model, entries)
    due = next((one for one in ledger.unlisted if version_rolled_back_by(ledger, one)), "")
    if not due:
        return ""
    exposure = specify_exposure_list(config, model, entries, rollout=due)
    table, _ = write_exposure(config, exposure, exposure_file(config, exposure), score=False)
    journal_exposure(config, ports, exposure, table)
    return f"{table.rows:,} answers of version {exposure.version.number}"


@dataclass(frozen=True, slots=True)
class AnswerCorrection:
    """A table of corrected answers.

    Attributes:
        version: Whose answers are corrected.
        by: Who gave the corrected ones.
        table: What was written.
        fresh: Whether it was not there already.
        notes: What the log's policy keeps from being known, in words.
    """

    version: Version
    by: Version
    table: AnswerComparison
    fresh: bool
    notes: tuple[str, ...]


def correct_answers(config: Settings, ports: Ports, model: str, number: str = "") -> AnswerCorrection:
    """Score all requests that a version answered with the proven-good version, and journal the table of corrections.

    Args:
        config: Where everything is.
        ports: Who acts.
        model: Registered model.
        number: The version whose answers are corrected; the one that was taken back last without it.

    Raises:
        Rejected: No version was taken back, or no other one is proven-good.
        EvidenceUnavailable: The log cannot be read, or the table cannot be written.
        SurefootError: The proven-good version could not be had.
    """
    entries = ports.journal.read(model)
    found = specify_exposure_list(config, model, entries, number=number)
    ledger = fold_entries(model, entries)
    champion = ledger.champion
    by = champion if champion and champion.digest != found.version.digest else ledger.target()
    if by is None:
        raise Rejected(
            f"{model} has no other proven-good version than {found.version.number} to correct its answers with"
        )
    question = replace(found.question, rollout="", groups=(), good=by.number)
    exposure = replace(found, question=question, good=(by,))
    made = (
        config.home / "corrections" / model_file_name(model) / f"version-{found.version.number}-by-{by.number}.parquet"
    )
    table, _ = _write(config, exposure, made, load=True, strict=True, names=_CORRECTION_COLUMNS)
    event = CorrectionsWritten(
        found.version.number,
        by.number,
        str(made.relative_to(config.home)),
        table.digest,
        table.rows,
        table.known,
        table.changed or 0,
        table.unknown,
    )
    return AnswerCorrection(found.version, by, table, _journal_once(ports, model, event), found.notes)
