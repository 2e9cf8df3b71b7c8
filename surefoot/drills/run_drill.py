"""Run one rollback drill with an injected fault in a copy of production."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.drills.drill_events import DrillResult
from surefoot.core.drills.drill_faults import FAULTS, DrillFault
from surefoot.core.errors import SurefootError, Unavailable
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EffectDone, EffectIntended, EndDecided, SetSplit, decode_event
from surefoot.core.naming.model_names import model_file_name
from surefoot.drills.fault_plans import HARM_FAULTS, FaultPlan
from surefoot.drills.misbehaviour import Misbehaviour
from surefoot.drills.registration_request import FAULTY
from surefoot.drills.staging_twin import StagingTwin
from surefoot.drills.tabletop import Tabletop
from surefoot.drills.twin_callers import TwinCallers
from surefoot.drills.twin_stages import TwinStage
from surefoot.exposure import write_due_exposure
from surefoot.incidents.incident_reports import update_incident_reports
from surefoot.rollout import Ports, drive_rollout, is_exposure_list_due

_OPERATOR = "operator"
"""What took the version back, where no gate and not the gateway did."""
_MOST_REQUESTS = 6000
"""Requests after the onset after which an operator takes the version back [count]."""
_MOST_HARM_REQUESTS = 12_000
_LONGEST_S = 900.0
"""The operator does so as well after this time of the host, however few requests were answered [seconds]."""
_AFTER_RETURN = 60
"""Requests after the version was taken back, so that the incident has a time after it [count]."""
_EXPLAIN_TURNS = 6
"""Rounds in which the incident is opened, listed, triaged and reported [count]."""
_UNDER_LOAD = frozenset({"hang", "exit", "leak"})
"""Misbehaviour of a process that serves: a fresh one that is asked again is well."""
_LEAST_LOG_BYTES = 256 << 10
"""A file limit that leaves room for what is no log: routes and the write-ahead log of the journal [bytes]."""
_JOURNALLED_WITHIN_S = 30.0
"""How long the gateway may take to journal what it has done while its disk was full [seconds]."""
_COMMAND_TIMEOUT_S = 120.0
_Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrillOutcome:
    """The result of one drill, and the same in a sentence.

    Attributes:
        result: What it has shown.
        sentence: Why the triage named its cause.
    """

    result: DrillResult
    sentence: str


@dataclass
class _DrillRun:
    """One drill under way.

    Attributes:
        twin: The twin in which it is played.
        plan: What happens.
        callers: Who asks.
        tell: Is told each step, in a few words.
        person: Who decides, in a tabletop drill.
        onset: When the fault began, by the clock of the twin [Unix seconds].
        by_operator: Whether an operator has taken the version back, since nothing else had.
        why_operator: What the gates were waiting for then.
    """

    twin: StagingTwin
    plan: FaultPlan
    callers: TwinCallers
    tell: _Tell
    person: Tabletop | None = None
    onset: float = 0.0
    by_operator: bool = False
    why_operator: str = ""


def run_single_drill(
    stage: TwinStage,
    plan: FaultPlan,
    traffic: pd.DataFrame,
    folder: Path,
    tell: _Tell,
    person: Tabletop | None = None,
) -> DrillOutcome:
    """Play one drill in a copy of a stage; every process of it has ended when this returns.

    Args:
        stage: The stage of the promotion in which the fault begins.
        plan: What happens.
        traffic: Requests of the twin.
        folder: Folder for the state of this drill; it must not exist.
        tell: Is told each step, in a few words.
        person: Who decides, in a tabletop drill.
    """
    twin = stage.twin.copy_to(folder)
    callers = TwinCallers(twin, traffic, stage.place)
    run = _DrillRun(twin, plan, callers, tell, person)
    try:
        twin.start()
        callers.send(plan.onset)
        run.onset = twin.clock.now()
        _begin(run)
        _until_taken_back(run)
        _end_tool_fault(run)
        return _explained(run)
    finally:
        callers.close()
        twin.stop()


def _begin(run: _DrillRun) -> None:
    """Let the fault begin."""
    fault = run.plan.fault
    if fault is DrillFault.CORRUPTED_ARTIFACT:
        _damage(run.twin)
    if fault is DrillFault.LABELS_DOWN:
        run.callers.labels = False
    if fault is DrillFault.DISK_FULL:
        _fill_log(run)
    run.callers.change = run.plan.change
    run.twin.misbehave(run.plan.version)
    run.tell(run.plan.what)


def _until_taken_back(run: _DrillRun) -> None:
    """Send requests, and look as often as flows would, until the version is taken back; at last by an operator."""
    fault = run.plan.fault
    harm = fault in HARM_FAULTS
    most, chunk = (_MOST_HARM_REQUESTS, 900) if harm else (_MOST_REQUESTS, 60 if run.person is None else 300)
    with run.twin.ports(registry=fault is not DrillFault.REGISTRY_DOWN) as ports:
        sent = 0
        began = time.monotonic()
        while sent < most and (time.monotonic() < began + _LONGEST_S or run.person is not None):
            run.callers.send(chunk)
            sent += chunk
            if fault is DrillFault.CORRUPTED_ARTIFACT and sent >= 2 * chunk:
                run.twin.misbehave(Misbehaviour())  # its process has ended once; what is loaded anew is damaged
            if run.person is not None and run.person.decide(run.twin.ledger(), run.twin.entries(), _callers(run)):
                break
            if fault is DrillFault.DISK_FULL and run.twin.is_cut():
                return  # the gateway journals that as soon as it can write again
            if fault is not DrillFault.PREFECT_DOWN:
                _tick(run, ports)
            ledger = run.twin.ledger()
            if not ledger.open or (ledger.rollout is not None and ledger.rollout.ending):
                return
            if ledger.rollout is not None and ledger.rollout.paused and fault is not DrillFault.DISK_FULL:
                run.why_operator = f"the rollout waits: {ledger.rollout.paused.reason}"
                break
        else:
            run.why_operator = f"{sent:,} requests and {time.monotonic() - began:.0f} s were not enough for the gates"
    _by_operator(run)


def _callers(run: _DrillRun) -> str:
    """What callers have seen, as a sentence."""
    seen = run.callers.seen
    by = ", ".join(f"{count:,} by version {number}" for number, count in sorted(seen.by_version.items()))
    return f"callers: {seen.sent:,} requests, {seen.failed:,} failed; answered {by or 'by none'}"


def _tick(run: _DrillRun, ports: Ports) -> None:
    """What the flows do; what cannot be done now is done at a later tick."""
    try:
        drive_rollout(ports, run.twin.model, until=lambda now: not now.open, wait=False, patience=0.0)
    except SurefootError as error:
        run.tell(str(error)[:200])


def _by_operator(run: _DrillRun) -> None:
    """Take the version back as an operator does: by the command, in a process of its own."""
    run.by_operator = True
    run.tell(f"{run.why_operator}: an operator types 'surefoot rollback'")
    command = [sys.executable, "-m", "surefoot", "rollback", run.twin.model, "--now", "--reason", "drill"]
    environment = {**os.environ, "SUREFOOT_HOME": str(run.twin.config.home)}
    done = subprocess.run(  # noqa: S603 - our own program
        command, env=environment, cwd=run.twin.config.project, capture_output=True, text=True,
        timeout=_COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        run.tell((done.stderr.strip().splitlines() or ["it failed"])[-1][:200])


def _end_tool_fault(run: _DrillRun) -> None:
    """The tool answers again; the fault of the version stays, as its bytes do, unless it is one of its process."""
    run.callers.labels = True
    if run.plan.version.mode in _UNDER_LOAD:
        run.twin.misbehave(Misbehaviour())
    if run.plan.fault is DrillFault.DISK_FULL:
        _limit_files(run.twin, psutil.RLIM_INFINITY)
        deadline = time.monotonic() + _JOURNALLED_WITHIN_S
        while not run.by_operator and _decision(run.twin.entries()) is None and time.monotonic() < deadline:
            time.sleep(0.1)


def _explained(run: _DrillRun) -> DrillOutcome:
    """Bring the rollback to its end, have the incident opened, triaged and reported, and say how it went."""
    config, model = run.twin.config, run.twin.model
    with run.twin.ports() as ports:
        for _ in range(_EXPLAIN_TURNS):
            _tick(run, ports)
            run.callers.send(_AFTER_RETURN)
            with suppress(Unavailable):
                ledger = wiring.record_answer_counts(config, ports, model)
                if is_exposure_list_due(ledger, ports.clock.now()):
                    write_due_exposure(config, ports, model)
                update_incident_reports(config, ports, model)
            known = ports.ledger(model).incidents.known.values()
            if known and all(one.triaged is not None and not one.report_due for one in known):
                break
        entries = ports.journal.read(model)
        ledger = ports.ledger(model)
    if run.person is not None:
        run.person.ask("The version is taken back. Which cause do you suspect?", "suspected cause")
        run.person.ask("Whom do you tell, and what?", "told")
    found = next((one.triaged for one in ledger.incidents.known.values() if one.triaged is not None), None)
    cause = "" if found is None else str(found.cause)
    decided = _decision(entries)
    served = ledger.champion is not None and ledger.champion.number != FAULTY and not ledger.open
    problems = []
    if decided is None:
        problems.append("the version was not taken back")
    elif not served:
        problems.append("the rollback has not come to its end")
    if run.callers.seen.failed:
        problems.append(f"callers saw errors: {run.callers.seen.first_failure}")
    if run.by_operator and run.person is None:
        problems.append(f"no gate took the version back: a person had to; {run.why_operator}")
    gate = "" if decided is None else decided[1].gate or _OPERATOR
    result = DrillResult(
        fault=run.plan.fault,
        detected=decided is not None and not run.by_operator,
        gate=gate,
        requests=None if decided is None else _requests(run, decided[0].at),
        detect_s=None if decided is None else decided[0].at - run.onset,
        restore_ms=_restore_ms(entries, decided[0]) if decided is not None else None,
        cause=cause,
        cause_right=None if found is None else found.cause in FAULTS[run.plan.fault].causes,
        caller_errors=run.callers.seen.failed,
        problem="; ".join(problems),
    )
    return DrillOutcome(result, "" if found is None else found.sentence)


def _decision(entries: tuple[Entry, ...]) -> tuple[Entry, EndDecided] | None:
    """The last decision to take a version back."""
    found = [
        (entry, event) for entry in entries if isinstance(event := decode_event(entry.kind, entry.data), EndDecided)
    ]
    return found[-1] if found else None


def _restore_ms(entries: tuple[Entry, ...], decided: Entry) -> float | None:
    """Time from the decision until every worker has the good version for all requests [ms of the host]."""
    intents = {}
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit):
            intents[entry.seq] = event.effect
        if isinstance(event, EffectDone) and event.intent in intents and entry.seq > decided.seq:
            return 0.0 if event.reconciled else round((entry.wall - decided.wall) * 1000.0, 1)
    return None


def _requests(run: _DrillRun, until: float) -> int:
    """Requests that the version was asked from the onset until the decision."""
    sql = 'SELECT count(*) FROM log WHERE version = $1 AND "at" > $2 AND "at" <= $3'
    ((count,),) = PredictionLog(run.twin.config.log).query_rows(run.twin.model, sql, (FAULTY, run.onset, until))
    return int(str(count))


def _fill_log(run: _DrillRun) -> None:
    """Let the gateway write no more into its prediction log; its routes and the journal are smaller than that."""
    log = run.twin.config.log / model_file_name(run.twin.model)
    while (size := max(_newest(log).stat().st_size, 0)) < _LEAST_LOG_BYTES:
        run.callers.send(_AFTER_RETURN)
    _limit_files(run.twin, size)


def _newest(folder: Path) -> Path:
    return max(folder.glob("predictions-*.jsonl"), key=lambda file: file.stat().st_mtime_ns)


def _limit_files(twin: StagingTwin, size: int) -> None:
    """Let the gateway's processes write no file beyond a size, as on a full disk."""
    for pid in twin.gateway_processes():
        with suppress(psutil.Error):
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))


def _damage(twin: StagingTwin) -> None:
    """Damage the bytes of the version on the disk, and let its source in the registry be damaged bytes."""
    with sqlite3.connect(twin.registry_file) as registry:
        ((source,),) = registry.execute("SELECT source FROM model_versions WHERE version = ?", (int(FAULTY),))
        damaged = twin.config.home / "damaged"
        shutil.copytree(source, damaged)
        registry.execute("UPDATE model_versions SET source = ?, storage_location = ? WHERE version = ?",
                         (str(damaged), str(damaged), int(FAULTY)))  # fmt: skip
    for root in (damaged, twin.config.home / "artifacts"):
        for file in root.rglob("python_model.pkl"):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            fresh = file.with_name(".damaged")
            fresh.write_bytes(content)
            fresh.replace(file)
