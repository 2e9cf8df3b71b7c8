"""`surefoot verify` adds up the kept sums of old verdicts again, and names what was altered."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.cli import main
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.events import Event, GateJudged, RolloutOpened, encode_event
from surefoot.core.judging.evidence_json import encode_evidence
from surefoot.core.judging.judge import JUDGE_RULES_VERSION, judge
from surefoot.core.judging.thresholds import DecisionThresholds
from surefoot.core.policy.parse import parse_policy
from surefoot.settings import Settings
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.unit.test_replay import ASKED, V1, V2
from tests.unit.test_stored_evidence import House

LABELS = {"maturity": "100s", "coverage": 0.5}
GATES = {
    "errors": {"metric": "error_rate", "margin": "1pp"},
    "quality": {"metric": "brier", "margin": 0.5, "by": ["origin"], "min_per_slice": 5, "labels": LABELS},
}
JUDGED = {**POLICY, "gates": GATES, "steps": [{"shadow": {"window": "7d", "gates": list(GATES)}}, *POLICY["steps"][1:]]}


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A journal with the verdicts of two gates on a log of which two parts are closed."""
    house = House(tmp_path)
    for compacted in (True, True, False):
        house.add(compacted=compacted)
    dead = f"http://127.0.0.1:{free_port()}"
    config = Settings(tmp_path, tmp_path, dead, dead, dead, "token")
    config.save()
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path))
    events: list[Event] = [RolloutOpened("r", RolloutKind.PROMOTION, V2, V1, JUDGED, "", "", "salt", 1, "test")]
    for gate in parse_policy(JUDGED).gates.values():
        if gate.name in GATES:
            found, level = house.look(replace(ASKED, gate=gate))[0], DecisionThresholds()
            verdict = judge(gate, found, level)
            events.append(
                GateJudged("r", Stage.SHADOWING, 0, 1, verdict, level, encode_evidence(found), JUDGE_RULES_VERSION)
            )
    journal = SqlJournal(config.journal_url, SystemClock())
    for number, event in enumerate(events):
        journal.append("m", number, float(number), "test", *encode_event(event))
    journal.close()
    return house


def verify(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run the command; its exit code, and all that it prints as one line."""
    monkeypatch.setattr(sys, "argv", ["surefoot", "verify"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capfd.readouterr()
    return int(ended.value.code or 0), " ".join((told.out + told.err).split())


def test_verdicts_are_computed_again_from_kept_sums(
    judged: House, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all rows have expired, both verdicts follow from their counters, and these from the kept sums."""
    shutil.rmtree(judged.root)
    code, said = verify(capfd, monkeypatch)
    assert (code, "2 verdicts follow from their counters" in said) == (0, True)
    assert "counters of 2 were added up again from kept sums" in said


def test_kept_sums_that_are_gone_are_said(
    judged: House, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the kept sums the verdicts still follow from the journal, and it is said that the sums are not here."""
    shutil.rmtree(judged.home / "evidence")
    code, said = verify(capfd, monkeypatch)
    assert (code, "the kept sums of 2 are not on this host" in said) == (0, True)


@pytest.mark.parametrize("what", ["sums", "part"])
def test_what_was_altered_is_named(
    what: str, judged: House, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of kept sums, or a part of the log, that is not as it was is named, and the exit code is 5."""
    folder = judged.home / "evidence" / "m" / "sums"
    paths = list(folder.iterdir()) if what == "sums" else judged.parts()[:1]
    for path in paths:
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    code, said = verify(capfd, monkeypatch)
    assert code == 5
    assert any(path.name[:30] in said.replace(" ", "") for path in paths)
