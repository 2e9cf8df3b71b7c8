"""`surefoot forget` where a version was rolled back: exposure lists, corrections, traces, pages and their reports."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from surefoot import exposure, wiring
from surefoot.adapters.served_answers.triage.trace_file import encode_traces, read_traces
from surefoot.core.domain import Version
from surefoot.core.incidents.incident_events import IncidentTriaged
from surefoot.core.incidents.request_trace import RequestTrace, TracedStage, VersionTrace
from surefoot.core.triage.triage import Cause
from surefoot.incidents import incident_reports
from surefoot.rollout import open_due_incidents
from tests.integration.log_writing import record, write
from tests.integration.served_stack import HOUR, Clock, Stack
from tests.integration.test_forget import FEATURE, MARKERS, REQUEST, UNIT, holds

NUMBERS = range(1, 60)


def is_own(number: int) -> bool:
    """Whether a request is of the unit."""
    return number % 10 == 5


def line(number: int) -> bytes:
    """One request each ten seconds from hour 10; each fifth has version 2's answer."""
    answered = "2" if number % 5 == 0 else "1"
    own = {"request": f"{REQUEST}-{number}", "unit": UNIT, "features": {"x": number, "note": FEATURE}}
    fields = own if is_own(number) else {"unit": f"other-{number}"}
    return record(number, 10 * HOUR + number * 10.0, answered_by=answered, error=None, **fields)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A version that was rolled back: an incident, a list of what it answered, and a traced request of the unit."""
    made = Stack(tmp_path / "home", unit="person")
    made.history()
    write(made.config.log, map(line, NUMBERS))
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    exposure.write_due_exposure(made.config, made.ports, "m")
    (name,) = open_due_incidents(made.ports, "m")
    incident_reports.hold_evidence(made.ports, "m", name)
    made.append(13 * HOUR, IncidentTriaged(name, Cause.UNKNOWN, "", "not known"))
    traced = [f"{REQUEST}-5", "q000010"]
    traces = [RequestTrace(one, 0, 10 * HOUR, "0.5", (VersionTrace("2", stages(one)),)) for one in traced]
    incident_reports.write_report(made.config, made.ports, "m", name)
    incident_reports.trace_file(made.config, "m", name).write_bytes(encode_traces("m", traces))
    incident_reports.write_report(made.config, made.ports, "m", name)
    (made.home / "reports").mkdir()
    page = f"<td>{UNIT}</td><td>{FEATURE}</td><td>LGA</td>"  # as a page of a suite quotes rows
    (made.home / "reports" / "r1.html").write_text(page, encoding="utf-8")
    corrections = made.home / "corrections" / "m" / "version-2-by-1.parquet"
    corrections.parent.mkdir(parents=True)
    shutil.copy(next((made.home / "exposure").rglob("*.parquet")), corrections)
    return made


def stages(request: str) -> tuple[TracedStage, ...]:
    """What a version received of a request."""
    own = {"person": UNIT, "note": FEATURE} if REQUEST in request else {"person": "other-10"}
    return (TracedStage("received", json.dumps(own), 0.0),)


def incident(stack: Stack) -> str:
    """Id of the incident."""
    return next(iter(stack.ports.ledger("m").incidents.known))


def found(stack: Stack, *markers: str) -> list[str]:
    """Files of the state folder that have one of these texts."""
    return sorted(str(p.relative_to(stack.home)) for p in stack.home.rglob("*") if p.is_file() and holds(p, markers))


def test_lists_traces_and_pages_lose_the_unit(stack: Stack) -> None:
    """Once the hold is lifted nothing of the unit is found; the report is drawn again, and rows of others stay."""
    name = incident(stack)
    page, text = incident_reports.report_files(stack.config, "m", name)
    assert UNIT in page.read_text(encoding="utf-8")
    assert stack.command("forget", "m", "--skip-servers", "--unit", UNIT, "-m", "asked for") == 2
    assert stack.command("incident", "release", name, "no claim was made") == 0
    assert stack.command("forget", "m", "--skip-servers", "--unit", UNIT, "-m", "asked for") == 0
    assert found(stack, *MARKERS) == []
    assert [one.request for one in read_traces(incident_reports.trace_file(stack.config, "m", name))] == ["q000010"]
    assert "Request q000010" in page.read_text(encoding="utf-8")
    assert "q000010" in text.read_text(encoding="utf-8")
    for place in ("exposure", "corrections"):
        (table,) = (stack.home / place).rglob("*.parquet")
        rows = pyarrow.parquet.read_table(table).to_pylist()
        assert [row["request"] for row in rows] == [f"q{n:06d}" for n in NUMBERS if n % 10 == 0]
    removed = dict(stack.journal.read("m")[-1].data["removed"])  # type: ignore[call-overload] # a mapping
    assert removed.pop("names in pages") >= 2
    assert removed == {
        "predictions in segments": 6,
        "exposure lists": 6,
        "corrected answers": 6,
        "traces of requests": 1,
    }
    assert stack.command("verify") == 0


def test_pseudonyms_stand_in_what_the_incident_holds(stack: Stack) -> None:
    """With --pseudonymise lists and traces keep their rows under a pseudonym, and the unit stands nowhere."""
    name = incident(stack)
    (table,) = (stack.home / "exposure").rglob("*.parquet")
    before = pyarrow.parquet.read_table(table).drop_columns(["request", "unit"])
    assert stack.command("forget", "m", "--skip-servers", "--unit", UNIT, "--pseudonymise", "-m", "asked for") == 0
    assert found(stack, UNIT, REQUEST) == []
    after = pyarrow.parquet.read_table(table)
    assert after.drop_columns(["request", "unit"]).to_pylist() == before.to_pylist()
    assert len({unit for unit in after.column("unit").to_pylist() if unit.startswith("forgotten-")}) == 1
    assert len(read_traces(incident_reports.trace_file(stack.config, "m", name))) == 2
    intended = next(one for one in stack.journal.read("m") if one.kind == "ErasureIntended")
    assert intended.data["held_by"] == [name]


def test_counts_of_the_journal_stay(stack: Stack) -> None:
    """What versions have answered is counted into the journal before it is removed, the unit's requests among it."""
    assert stack.command("incident", "release", incident(stack), "no claim was made") == 0
    assert stack.command("forget", "m", "--skip-servers", "--unit", UNIT, "-m", "asked for") == 0
    counted = stack.ports.ledger("m").counted
    assert counted is not None
    assert {one.number: one.requests for one in counted.versions} == {"1": 48, "2": 11}
    assert stack.ports.ledger("m").champion == Version("1", stack.one.digest)
