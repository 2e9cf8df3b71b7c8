"""`surefoot forget` removes every record of a unit from the state folder, on record, and `verify` stays green."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.cli import main
from surefoot.cli.local import prefect_artifacts
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.incidents.incident_events import EvidenceHeld
from surefoot.core.journal.events import Event, GateJudged, RolloutOpened, encode_event
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.judge import JUDGE_RULES_VERSION, judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.gateway.log.segment_writer import SegmentWriter
from surefoot.settings import Settings
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.sweeps import EVERYTHING, swept
from tests.unit.test_replay import ASKED, V1, V2, label, record
from tests.unit.test_stored_evidence import House

UNIT, FEATURE, REQUEST = "unit-marker-4711", "feature-marker-4712", "request-marker"
MARKERS = (UNIT, FEATURE, REQUEST)
LABELS = {"maturity": "100s", "coverage": 0.5}
GATES = {
    "errors": {"metric": "error_rate", "margin": "1pp"},
    "quality": {"metric": "brier", "margin": 0.5, "by": ["origin"], "min_per_slice": 5, "labels": LABELS},
}
JUDGED = {
    **POLICY,
    "model": "m",
    "unit": "person",
    "gates": GATES,
    "steps": [{"shadow": {"window": "7d", "gates": list(GATES)}}, *POLICY["steps"][1:]],
}
OTHERS, OWN = 30, 6


class StateFolder:
    """A state folder with records of one unit among those of others: in parts, in segments, and in stored evidence."""

    def __init__(self, home: Path, source: Path | None = None) -> None:
        self.home, self.house = home, House(home)
        if source is not None:
            shutil.copytree(source, home, dirs_exist_ok=True)
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(home, home, dead, dead, dead, "token")
        self.config.save()
        self.journal = SqlJournal(self.config.journal_url, SystemClock())
        self.open = SegmentWriter(self.house.root / "m" / "predictions-9-9.jsonl")

    def fill(self) -> None:
        """Log requests of the unit and of others, and judge two gates on them."""
        for first in (0, 10):
            self.add(first, first + 10)
            compact_log(self.house.root, "m")
        self.add(20, 30)
        self.append(RolloutOpened("r", RolloutKind.PROMOTION, V2, V1, JUDGED, "", "", "salt", 1, "test"))
        self.judge()

    def line(self, number: int, person: str) -> bytes:
        """One request of a person; those of the unit have a marker in features and request id."""
        own = person == UNIT
        features = {"i": number, "origin": "AB"[number % 2], "person": person, "note": FEATURE if own else "none"}
        made = record(number, 3600.0 * (number + 1), unit=person, features=features)
        return json.dumps(made | {"request": self.name(number, own=own)}).encode() + b"\n"

    @staticmethod
    def name(number: int, *, own: bool) -> str:
        """Id of a request."""
        return f"{REQUEST}-{number}" if own else f"r{number}"

    def add(self, first: int, end: int) -> None:
        """Closed segments of requests and labels; every fifth request is of the unit."""
        people = {number: UNIT if number % 5 == 0 else f"other-{number}" for number in range(first, end)}
        requests = SegmentWriter(self.house.root / "m" / f"predictions-1-{first}.jsonl")
        requests.append(b"".join(self.line(number, person) for number, person in people.items()))
        requests.close()
        labels = SegmentWriter(self.house.root / "m" / f"labels-1-{first}.jsonl")
        for number, person in people.items():
            made = label(number, number % 2, 3600.0 * (number + 1) + 50.0)
            made["request"] = self.name(number, own=person == UNIT)
            labels.append(json.dumps(made).encode() + b"\n")
        labels.close()

    def append(self, event: Event) -> None:
        """Journal one event."""
        head = len(self.journal.read("m"))
        self.journal.append("m", head, float(head), "test", *encode_event(event))

    def judge(self) -> None:
        """Journal a verdict of each gate on what the log holds now."""
        for gate in parse_policy(JUDGED).gates.values():
            if gate.name in GATES:
                found, level = self.house.look(replace(ASKED, gate=gate))[0], DecisionThresholds()
                evidence = encode_evidence(found)
                verdict = judge(gate, found, level)
                self.append(GateJudged("r", Stage.SHADOWING, 0, 1, verdict, level, evidence, JUDGE_RULES_VERSION))

    def hold(self) -> None:
        """Have an incident hold the records of the first ten requests."""
        self.append(IncidentOpened("incident-1", "r", V1, "gate quality", "worse"))
        self.append(EvidenceHeld("incident-1", 0.0, 10 * 3600.0))

    def command(self, *words: str) -> int:
        """Run a command in this process, with no server but this folder; its exit code."""
        alone = ("--skip-servers",) if words[0] == "forget" else ()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["surefoot", *words, *alone])
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0)

    def found(self, *markers: str) -> list[str]:
        """Files of the state folder that have one of these texts, in whatever form Parquet has packed it."""
        return sorted(
            {str(p.relative_to(self.home)) for p in self.home.rglob("*") if p.is_file() and holds(p, markers)}
        )

    def requests(self, view: str = "log") -> set[str]:
        """Requests that readers of the log see."""
        rows = PredictionLog(self.house.root).query_rows("m", f"SELECT request FROM {view}")  # noqa: S608 - a test's own
        return {str(request) for (request,) in rows}


def holds(path: Path, markers: tuple[str, ...]) -> bool:
    """Whether a file has one of the texts: in its bytes, or in a column, a name or the footer of a table."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        content += repr((table.to_pylist(), table.schema.metadata, table.column_names)).encode()
    return any(marker.encode() in content for marker in markers)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with two verdicts, and requests of the unit in two parts and a closed segment."""
    made = StateFolder(tmp_path_factory.mktemp("filled"))
    made.fill()
    made.journal.close()
    return made.home


@pytest.fixture
def kept(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateFolder]:
    """A copy of that folder, with a segment that a gateway has open."""
    made = StateFolder(tmp_path / "home", filled)
    made.open.append(made.line(30, person=UNIT))
    monkeypatch.setenv("SUREFOOT_HOME", str(made.home))
    yield made
    made.open.close()
    made.journal.close()


def last_event(kept: StateFolder) -> dict[str, Any]:
    """Fields of the last entry of the journal."""
    return dict(kept.journal.read("m")[-1].data)


def test_nothing_of_a_unit_is_found_and_verify_is_green(kept: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    """After it no file has the markers, other records are untouched, old verdicts follow from kept sums."""
    assert len(kept.found(UNIT)) >= 4
    assert any("evidence" in name for name in kept.found(REQUEST))
    others = {one for one in kept.requests() if REQUEST not in one}
    before = kept.journal.read("m")
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for on 3 May") == 0
    assert kept.found(*MARKERS) == []
    assert kept.requests() == others
    assert kept.requests("labels") == others
    entries = kept.journal.read("m")
    assert entries[: len(before)] == before
    assert [entry.kind for entry in entries[len(before) :]] == ["ErasureIntended", "UnitForgotten"]
    said = last_event(kept)
    assert said["removed"] == {
        "predictions in segments": 3,
        "labels in segments": 2,
        "predictions in tables": 4,
        "labels in tables": 4,
        "stored answers": 2 * OWN,
    }
    assert len(said["replaced"]) == 4
    assert said["quoted_by"] == []
    capfd.readouterr()
    assert kept.command("verify") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "2 verdicts follow from their counters, counters of 2 were added up again from kept sums, 1 erasure" in told


def test_a_later_look_asks_no_version_again_about_other_requests(kept: StateFolder) -> None:
    """The next look is about the others alone, and their kept answers serve it."""
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
    found, asked = kept.house.look(replace(ASKED, gate=parse_policy(JUDGED).gates["quality"]))
    assert isinstance(found, PairedSums)
    assert (found.requests, asked) == (OTHERS - OWN, 0)


def test_it_is_safe_to_repeat(kept: StateFolder) -> None:
    """A second call finds nothing, changes no file of the log, and is on record."""
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
    before = {path: path.read_bytes() for path in kept.house.parts()}
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for again") == 0
    assert {path: path.read_bytes() for path in kept.house.parts()} == before
    assert (last_event(kept)["removed"], last_event(kept)["replaced"]) == ({}, {})


def test_the_writer_of_an_open_segment_goes_on(kept: StateFolder) -> None:
    """A gateway that has a segment open appends to it as before, and a compaction takes what is left of it."""
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
    kept.open.append(kept.line(41, "other-41"))
    kept.open.close()
    done = compact_log(kept.house.root, "m")
    assert done.torn == 0
    assert "r41" in kept.requests()
    assert kept.found(*MARKERS) == []


def test_requests_are_forgotten_by_their_ids(kept: StateFolder) -> None:
    """`--request` removes that request and its label, and no other one of the unit."""
    before = kept.requests()
    assert kept.command("forget", "m", "--request", f"{REQUEST}-5", "--request", "r6", "-m", "asked for") == 0
    assert before - kept.requests() == {f"{REQUEST}-5", "r6"}
    assert before - kept.requests("labels") == {f"{REQUEST}-5", "r6", f"{REQUEST}-30"}


def test_every_request_with_a_row_of_the_unit_goes(kept: StateFolder) -> None:
    """A request of many rows goes when one row is the unit's, however a number is spelt there."""
    rows = [{"i": 1, "person": "other-1"}, {"i": 2, "person": 4711.0}]
    made = [record(50, 9e4, request="batch", row=place, unit="other-1", features=row) for place, row in enumerate(rows)]
    kept.house.write("predictions", made)
    assert "batch" in kept.requests()
    assert kept.command("forget", "m", "--unit", "4711", "-m", "asked for") == 0
    assert "batch" not in kept.requests()
    assert last_event(kept)["removed"] == {"predictions in segments": 2}


def test_an_incident_that_holds_records_refuses(kept: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    """While an incident holds requests of the unit nothing happens, and the line names the incident and two ways on."""
    kept.hold()
    before = (kept.requests(), len(kept.journal.read("m")))
    capfd.readouterr()
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "incident incident-1 holds 2 of 7 requests as evidence" in said
    assert "--pseudonymise" in said
    assert UNIT not in said
    assert (kept.requests(), len(kept.journal.read("m"))) == before
    assert not list((kept.home / "erasure").rglob("*.json"))


def test_what_an_incident_holds_gets_pseudonyms(kept: StateFolder) -> None:
    """With --pseudonymise held records keep answer, label and time under a pseudonym, and all others go."""
    kept.hold()
    log = PredictionLog(kept.house.root)
    values = 'SELECT l."at", l.prediction, b.label FROM log l JOIN labels b USING (request, "row") WHERE {} ORDER BY 1'
    held = log.query_rows("m", values.format('l."at" <= 36000'))
    assert kept.command("forget", "m", "--unit", UNIT, "--pseudonymise", "-m", "asked for") == 0
    assert kept.found(UNIT, REQUEST) == []
    assert log.query_rows("m", values.format('l."at" <= 36000')) == held
    pseudonyms = log.query_rows("m", "SELECT unit, features->>'person' FROM log WHERE unit LIKE 'forgotten-%'")
    assert len(pseudonyms) == 2
    assert len(set(pseudonyms)) == 1
    assert pseudonyms[0][0] == pseudonyms[0][1]
    said = last_event(kept)
    assert said["pseudonymised"] == {"predictions in tables": 2, "labels in tables": 2, "stored answers": 4}
    assert len(kept.requests()) == OTHERS - OWN + 2
    assert kept.command("verify") == 0


def test_held_records_of_a_segment_get_pseudonyms(kept: StateFolder) -> None:
    """Held records of segments that are not compacted yet are kept once, under a pseudonym."""
    kept.append(IncidentOpened("incident-2", "r", V1, "gate quality", "worse"))
    kept.append(EvidenceHeld("incident-2", 20.5 * 3600.0, 32 * 3600.0))
    assert kept.command("forget", "m", "--unit", UNIT, "--pseudonymise", "-m", "asked for") == 0
    assert kept.found(UNIT, REQUEST) == []
    sql = "SELECT count(*), count(DISTINCT request) FROM log WHERE unit LIKE 'forgotten-%'"
    assert PredictionLog(kept.house.root).query_rows("m", sql) == [(3, 3)]
    assert last_event(kept)["pseudonymised"]["predictions in segments"] == 3


def test_a_part_that_is_brought_back_is_named(kept: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that an erasure has removed, and that a backup brings back, is tampering that verify names."""
    saved = {path: path.read_bytes() for path in kept.house.parts()}
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
    back, content = next(iter(saved.items()))
    back.write_bytes(content)
    capfd.readouterr()
    assert kept.command("verify") == 5
    said = capfd.readouterr().err
    assert back.name in said.replace("\n", "")
    back.unlink()
    assert kept.command("verify") == 0


@pytest.mark.parametrize(
    "words",
    [("--unit", UNIT), ("--unit", UNIT, "-m", f"{UNIT} has asked"), ("--request", "r6", "-m", "r6 is wrong")],
    ids=["no reason", "a reason with the unit", "a reason with the request"],
)
def test_a_reason_is_needed_that_names_no_person(kept: StateFolder, words: tuple[str, ...]) -> None:
    """Without a reason, or with one that names the unit or the request, nothing happens."""
    before = kept.requests()
    assert kept.command("forget", "m", *words) == 2
    assert kept.requests() == before


def test_a_model_without_records_is_named(kept: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that neither the journal nor the log knows is refused by name."""
    assert kept.command("forget", "typo", "--unit", UNIT, "-m", "asked for") == 2
    assert "nothing of typo" in capfd.readouterr().err


def test_an_entry_that_quotes_a_request_is_said(kept: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    """What the journal quotes cannot be removed: the entry is named, and what has the request's id nowhere else is."""
    kept.append(IncidentOpened("incident-3", "r", V1, "test", f"values that cannot be read (request {REQUEST}-5)"))
    quoting = len(kept.journal.read("m"))
    assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
    assert last_event(kept)["quoted_by"] == [quoting]
    assert f"journal entries {quoting} quote it" in " ".join(capfd.readouterr().out.split())
    assert {name.partition("-")[0] for name in kept.found(*MARKERS)} == {"journal.db"}


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.erasure import ForgetRequest, forget_unit
from surefoot.rollout import Ports
from surefoot.settings import read_settings
from dataclasses import replace

home, unit = Path(sys.argv[1]), sys.argv[2]

def deadly(real):
    def call(*arguments, **keywords):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    return call

for name in ("rename", "replace", "unlink", "pwrite"):
    setattr(os, name, deadly(getattr(os, name)))
for strike in map(int, sys.argv[3].split()):
    left = 0
    case = home.parent / f"case-{strike}"
    shutil.copytree(home, case)
    child = os.fork()
    if not child:
        config = replace(read_settings(case), home=case, project=case)
        journal = SqlJournal(config.journal_url, SystemClock())
        ports = Ports(journal, None, None, None, SystemClock(), "test")
        left = strike
        forget_unit(config, ports, "m", ForgetRequest(unit, (), "asked for"))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_kill_anywhere_is_finished_by_the_next_call(kept: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before any call that changes the disk, an erasure is finished by the next one, with the same counts."""
    kept.open.close()
    kept.journal.close()
    root = Path(__file__).resolve().parents[2]
    strikes = [*swept(200, 0)][:: 1 if EVERYTHING else 2]
    program = [sys.executable, "-c", KILLED, str(kept.home), UNIT, " ".join(map(str, strikes))]
    done = subprocess.run(
        program, cwd=root, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    cases = sorted(kept.home.parent.glob("case-*"), key=lambda path: int(path.name.partition("-")[2]))
    assert len(cases) > len(strikes) // 8
    removed = []
    for case in cases:
        settings = json.loads((case / "stack.json").read_text()) | {"home": str(case), "project": str(case)}
        (case / "stack.json").write_text(json.dumps(settings))
        monkeypatch.setenv("SUREFOOT_HOME", str(case))
        assert kept.command("forget", "m") == 0
        if not any(entry_kind == "UnitForgotten" for entry_kind in kinds(case)):  # killed before anything was begun
            assert kept.command("forget", "m", "--unit", UNIT, "-m", "asked for") == 0
        assert [p for p in case.rglob("*") if p.is_file() and holds(p, MARKERS)] == [], case.name
        assert kept.command("verify") == 0, case.name
        removed.append(forgotten(case))
    assert all(one == removed[-1] for one in removed)


def kinds(home: Path) -> list[str]:
    """Kinds of all entries."""
    journal = SqlJournal(f"sqlite:///{home / 'journal.db'}", SystemClock())
    try:
        return [entry.kind for entry in journal.read("m")]
    finally:
        journal.close()


def forgotten(home: Path) -> object:
    """What the erasures of a state folder have removed, by place."""
    journal = SqlJournal(f"sqlite:///{home / 'journal.db'}", SystemClock())
    try:
        (event,) = [entry.data for entry in journal.read("m") if entry.kind == "UnitForgotten"]
        return event["removed"]
    finally:
        journal.close()


def test_a_server_that_is_down_leaves_the_erasure_unfinished(
    kept: StateFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is on this host goes, the exit code is 4, and the next call goes on with the same erasure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["surefoot", "forget", "m", "--unit", UNIT, "-m", "asked for"])
        patch.setattr(prefect_artifacts, "_PATIENCE_S", 0.5)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 4
    assert "Prefect does not answer" in " ".join(capfd.readouterr().err.split())
    assert [name for name in kept.found(*MARKERS) if not name.startswith("erasure/")] == []
    begun = last_event(kept)["erasure"]
    assert kept.command("forget", "m") == 0
    assert last_event(kept)["erasure"] == begun
    assert kept.found(*MARKERS) == []
