"""`surefoot incident` and the reports of incidents, on a journal and a prediction log, held against both by hand."""

import hashlib
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from surefoot import exposure, wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.served_answers.triage.trace_file import encode_traces
from surefoot.core.domain import Outcome, Role, Stage, Verdict
from surefoot.core.incidents.request_trace import RequestTrace, TracedStage, VersionTrace
from surefoot.core.journal.events import GateJudged
from surefoot.core.triage.triage import Cause
from surefoot.incidents import incident_reports
from surefoot.status_page.page_server import serve_status_page
from tests.conftest import free_port
from tests.integration.log_writing import record, write
from tests.integration.served_stack import HOUR, Clock, Stack

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc  # noqa: F401 - the triage asks MLflow for versions that are not on this host

REQUESTS = range(1, 700)
BAD = [number for number in REQUESTS if number % 5 == 0]


def lines() -> list[bytes]:
    """One request every ten seconds from hour 10; each fifth goes to version 2, which fails some."""
    made = []
    for number in REQUESTS:
        bad = number % 5 == 0
        failed = bad and number % 35 == 0
        answered = "1" if failed or not bad else "2"
        at = 10 * HOUR + number * 10.0
        made.append(
            record(number, at, answered_by=answered, error="ValueError: no" if failed else None, unit=f"u{number % 30}")
        )
    return made


def judged(reason: str, outcome: Outcome, look: int) -> GateJudged:
    """What the gate of errors answers."""
    verdict = Verdict("errors", "error_rate", outcome, Role.GUARDRAIL, reason, 50, 0.2, 0.1, 0.3, 0.01, "share")
    return GateJudged("r1", Stage.RAMPING, 0, look, verdict)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack with a version that was rolled back, and its prediction log, at a fixed time."""
    made = Stack(tmp_path / "home")
    made.history(
        judged("too few requests", Outcome.INCONCLUSIVE, 1),
        judged("20 % of 50 requests <fail> | too many", Outcome.FAIL, 2),
    )
    write(made.config.log, lines())
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    return made


def settle(stack: Stack) -> list[str]:
    """What `reconcile` does about the answers of the version and its incident."""
    exposure.write_due_exposure(stack.config, stack.ports, "m")
    return incident_reports.update_incident_reports(stack.config, stack.ports, "m")


def kinds(stack: Stack) -> list[str]:
    """Kinds of the entries about incidents, in order."""
    return [one.kind for one in stack.journal.read("m") if "Incident" in one.kind or "Evidence" in one.kind]


def shown(stack: Stack, capfd: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What `incident show --json` says."""
    capfd.readouterr()
    assert stack.command("incident", "show", "--json") == 0
    found: dict[str, object] = json.loads(capfd.readouterr().out)
    return found


def test_a_rollback_opens_one_incident_holds_its_evidence_and_reports_it(stack: Stack) -> None:
    """One tick opens, holds and reports; the next one finds nothing to do."""
    done = settle(stack)
    assert len(done) == 6
    reported = ["IncidentReported", "IncidentTriaged", "IncidentReported"]
    assert kinds(stack) == ["IncidentOpened", "EvidenceHeld", *reported]
    (incident,) = stack.ports.ledger("m").incidents.known.values()
    assert (incident.version.number, incident.rollback, incident.opened.trigger) == ("2", "r1", "gate errors")
    assert settle(stack) == []
    assert incident_reports.describe_incident_work(stack.ports.ledger("m")) == ""
    assert incident.triaged is not None
    # Neither version is on this host, and all requests are alike.
    assert incident.triaged.cause is Cause.UNKNOWN
    assert any("could not be asked again" in line for line in incident.triaged.evidence)
    assert incident.held is not None
    assert incident.held.digests["version 2"] == stack.two.digest
    assert incident.held.digests["version 1"] == stack.one.digest


def test_traced_requests_stand_in_the_report(stack: Stack) -> None:
    """Each stage of both versions is in the page and in the Markdown text, as text whatever it holds."""
    settle(stack)
    (name,) = stack.ports.ledger("m").incidents.known
    stages = (
        TracedStage("received", '{"x":"<b>7</b>"}', 0.0),
        TracedStage("after step scale", "no | value", 1.5, failed=True),
    )
    versions = (VersionTrace("2", stages), VersionTrace("1", stages[:1]))
    trace = RequestTrace("q000005", 0, 10 * HOUR, "0.5", versions)
    incident_reports.trace_file(stack.config, "m", name).write_bytes(encode_traces("m", [trace]))
    incident_reports.write_report(stack.config, stack.ports, "m", name)
    page, text = (file.read_text() for file in incident_reports.report_files(stack.config, "m", name))
    assert "Request q000005, stage by stage" in page
    assert "&lt;b&gt;7" in page
    assert "<b>7" not in page
    assert "no such stage" in page
    assert "| after step scale | error: no \\| value | no such stage |" in text


def test_the_numbers_are_those_of_journal_and_log(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Requests, units, failures, time to detect and to restore equal what is counted by hand from journal and log."""
    settle(stack)
    found = shown(stack, capfd)
    answered = [number for number in BAD if number % 35]
    times = [10 * HOUR + number * 10.0 for number in answered]
    impact = found["impact"]
    assert isinstance(impact, dict)
    assert (impact["requests"], impact["answers"]) == (len(answered), len(answered))
    assert impact["units"] == len({number % 30 for number in answered})
    assert impact["failed"] == len([number for number in BAD if number % 35 == 0 and number <= answered[-1]])
    assert (impact["first"], impact["last"]) == (times[0], times[-1])
    entries = stack.journal.read("m")
    failing = next(one.at for one in entries if one.kind == "GateJudged" and one.data["look"] == 2)
    back = [one.at for one in entries if one.kind == "EffectDone"][-1]
    assert found["time_to_detect_s"] == failing - times[0]
    assert found["time_to_restore_s"] == back - failing
    reported = stack.ports.ledger("m").incidents.known[str(found["incident"])].reported
    assert reported is not None
    assert (reported.requests, reported.units) == (len(answered), impact["units"])
    assert (reported.time_to_detect, reported.time_to_restore) == (failing - times[0], back - failing)


def test_the_page_stands_alone_and_escapes_every_text(stack: Stack) -> None:
    """The HTML file names no address outside itself, holds its plots, and shows texts of the journal as text."""
    settle(stack)
    (incident,) = stack.ports.ledger("m").incidents.known.values()
    assert incident.reported is not None
    page = stack.home / incident.reported.file
    assert incident.reported.digest == "sha256:" + hashlib.sha256(page.read_bytes()).hexdigest()
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:href|src|srcset|url\()=?["']?https?:""", html)
    assert html.count("data:image/svg+xml;base64,") >= 6
    assert "&lt;fail&gt;" in html
    assert "<fail>" not in html
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "&lt;fail&gt;" in text
    assert all(row.startswith("|") and row.endswith("|") for row in text.splitlines() if row.startswith("|"))


def test_people_note_close_and_release_it_and_the_report_says_so(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """Notes, feedback, who was told and the cause stand in the report; closing twice or without a reason is refused."""
    settle(stack)
    name = next(iter(stack.ports.ledger("m").incidents.known))
    assert stack.command("incident", "note", name[:6], "the feed has changed") == 0
    assert stack.command("incident", "feedback", name, "my order was refused", "--from", "a customer") == 0
    assert stack.command("incident", "told", name, "answers of today may be wrong", "--whom", "support") == 0
    assert stack.command("incident", "close", name, " ") == 2
    assert stack.command("incident", "close", name, "the feed is mended", "--cause", "renamed column") == 0
    assert stack.command("incident", "close", name, "again") == 2
    text = (stack.home / "incidents" / "m" / f"{name}.md").read_text(encoding="utf-8")
    for said in ("the feed has changed", "my order was refused", "a customer", "renamed column", "support: answers of"):
        assert said in text
    capfd.readouterr()
    stack.command("status", "m")
    assert f"nothing of the prediction log expires since incident {name}" in " ".join(capfd.readouterr().out.split())
    assert stack.command("incident", "list", "--open", "--json") == 0
    assert json.loads(capfd.readouterr().out) == {"incidents": []}
    assert stack.command("incident", "stats", "--json", "--plot", str(stack.home / "incidents.png")) == 0
    (counted,) = json.loads(capfd.readouterr().out)["models"]
    assert (counted["rollbacks"], counted["still_open"], counted["false_rollbacks"]) == (1, 0, 0)
    assert (stack.home / "incidents.png").read_bytes().startswith(b"\x89PNG")
    assert stack.command("incident", "release", name, "no claim was made") == 0
    assert stack.command("incident", "release", name, "again") == 2
    assert stack.command("incident", "show", "nothing") == 2


def test_a_person_looks_for_the_cause_again(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """`incident triage` prints the cause with its evidence and records it; an unknown incident is refused."""
    settle(stack)
    before = len(kinds(stack))
    capfd.readouterr()
    assert stack.command("incident", "triage") == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "could not be asked again" in said
    assert "would tell it: " in said
    assert stack.command("incident", "triage", "--json") == 0
    assert json.loads(capfd.readouterr().out)["model"] == "m"
    assert kinds(stack)[before:] == ["IncidentTriaged", "IncidentReported"] * 2
    assert stack.command("incident", "triage", "nothing") == 2


def test_what_an_incident_rests_on_does_not_expire(stack: Stack) -> None:
    """Compaction removes nothing that is held, however old, and everything that is old once the hold is lifted."""
    settle(stack)
    name = next(iter(stack.ports.ledger("m").incidents.known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock(400 * 24 * HOUR))
        held = wiring.compact_model_log(stack.config, "m")
        assert (held.removed, len(rows(stack))) == (0, len(REQUESTS))
        assert stack.command("incident", "release", name, "no claim was made") == 0
        assert wiring.compact_model_log(stack.config, "m").removed > 0
    assert rows(stack) == []


def rows(stack: Stack) -> list[tuple[object, ...]]:
    """Records that readers of the log see."""
    return PredictionLog(stack.config.log).query_rows("m", "SELECT request FROM log")


def test_the_playbook_names_the_next_step_and_drafts_what_is_told(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    """Steps are printed and recorded; a draft holds the numbers, and a project may have templates of its own."""
    settle(stack)
    name = next(iter(stack.ports.ledger("m").incidents.known))
    capfd.readouterr()
    assert stack.command("playbook", "m", "--done", "correct", "--note", "tables are right again", "--json") == 0
    steps = {one["name"]: one for one in json.loads(capfd.readouterr().out)["steps"]}
    assert steps["correct"]["done_by"].startswith("cli:")
    assert steps["tell-users"]["done_by"] == ""
    assert stack.command("playbook", "m", "--done", "dance") == 2
    assert "dance" in capfd.readouterr().err
    assert stack.command("playbook", "m") == 0
    assert "surefoot incident draft" in capfd.readouterr().out
    for audience in ("users", "support", "management"):
        assert stack.command("incident", "draft", name, "--to", audience) == 0
        assert "m" in capfd.readouterr().out
    assert stack.command("incident", "draft", name, "--to", "press") == 2
    folder = stack.home / "configs" / "messages"
    folder.mkdir()
    (folder / "press.md").write_text("Version {{ bad }} of {{ model }}, {{ requests }} requests", encoding="utf-8")
    capfd.readouterr()
    assert stack.command("incident", "draft", name, "--to", "press") == 0
    assert capfd.readouterr().out == "Version 2 of m, 120 requests\n"
    (folder / "press.md").write_text("{{ nothing.at.all }}", encoding="utf-8")
    assert stack.command("incident", "draft", name, "--to", "press") == 2
    assert "press.md cannot be filled" in capfd.readouterr().err


def test_a_served_report_leads_to_the_pages_of_its_model_and_the_file_to_none(stack: Stack, page: Page) -> None:
    """Where the status page serves a report, links above it lead on, each to a page; the file has no address in it."""
    settle(stack)
    (name,) = stack.ports.ledger("m").incidents.known
    file = incident_reports.report_files(stack.config, "m", name)[0]
    config = replace(stack.config, page=f"http://127.0.0.1:{free_port()}")
    with serve_status_page(config):
        page.goto(f"{config.page}/models/m/incidents/{name}")
        links = page.locator("nav a")
        found = {link.inner_text(): link.get_attribute("href") or "" for link in links.all()}
        assert found == {
            "Surefoot": "/",
            "m": "/models/m",
            "incidents": "/models/m#incidents",
            "promotion of version 2": "/models/m/rollouts/r1",
            "version 2": "/models/m/versions/2",
        }
        assert {httpx.get(config.page + to, trust_env=False, timeout=30.0).status_code for to in found.values()} == {
            200
        }
        page.get_by_role("link", name="incidents").click()
        page.locator(f'#incidents ~ div a[href="/models/m/incidents/{name}"]').click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Version 2 of m was taken back, version 1 serves")
    assert "href=" not in file.read_text(encoding="utf-8")
    page.goto(file.as_uri())
    expect(page.locator("a")).to_have_count(0)
