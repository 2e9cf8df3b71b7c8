"""`retention.reports` in a policy: old pages, lists and corrections go, and what an incident holds stays."""

from pathlib import Path

import pytest

from surefoot import exposure, wiring
from surefoot.incidents import incident_reports
from surefoot.rollout import open_due_incidents
from tests.integration.log_writing import DAY, record, write
from tests.integration.served_stack import HOUR, Clock, Stack


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A rollback whose answers are listed, whose evidence an incident holds, with a page and corrections."""
    made = Stack(tmp_path / "home", retention={"log": "1y", "reports": "30d"})
    made.history()
    write(made.config.log, [record(number, 10 * HOUR + number, answered_by="2") for number in range(1, 20)])
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    exposure.write_due_exposure(made.config, made.ports, "m")
    (name,) = open_due_incidents(made.ports, "m")
    incident_reports.hold_evidence(made.ports, "m", name)
    for place in ("reports/r1.html", "corrections/m/version-2-by-1.parquet", "reports/of-another-model.html"):
        (made.home / place).parent.mkdir(parents=True, exist_ok=True)
        (made.home / place).write_text("kept", encoding="utf-8")
    return made


def reports(stack: Stack) -> list[str]:
    """Names of all that expires with reports."""
    return sorted(p.name for place in ("reports", "exposure", "corrections") for p in (stack.home / place).rglob("*.*"))


def test_reports_expire_as_the_policy_says(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes before its time or while an incident holds it; then what is of the old rollout goes."""
    everything = reports(stack)
    assert len(everything) == 4
    assert wiring.compact_model_log(stack.config, "m").reports == 0
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock(31 * DAY))
    assert wiring.compact_model_log(stack.config, "m").reports == 0
    assert reports(stack) == everything
    (name,) = stack.ports.ledger("m").incidents.known
    assert stack.command("incident", "release", name, "no claim was made") == 0
    done = wiring.compact_model_log(stack.config, "m")
    assert (done.reports, "3 reports too old and removed" in done.describe()) == (3, True)
    assert reports(stack) == ["of-another-model.html"]
