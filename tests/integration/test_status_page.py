"""The status page, in a real browser and over HTTP, in front of a real journal and a real gateway."""

import html
import json
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NoReturn
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.domain import FigureKind, Outcome, Role, Stage, Verdict, VerdictFigure
from surefoot.core.errors import JournalUnavailable
from surefoot.core.journal.events import CandidateRefused, GateJudged, Paused
from surefoot.settings import Settings
from surefoot.status_page import page_content
from surefoot.status_page.page_server import serve_status_page
from surefoot.status_page.sign_in import SESSION_COOKIE, make_link_key
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_process import TOKEN
from tests.integration.page_records import HOME, LOANS, write_records
from tests.integration.page_records import PAGES as RECORD_PAGES
from tests.integration.waiting import wait_for

ROLLOUT = f"/models/{MODEL}/rollouts/rollout-1"
PAGES = ("/", f"/models/{MODEL}", ROLLOUT, f"{ROLLOUT}?all=1", "/models/none")
FORM = {"content-type": "application/x-www-form-urlencoded"}


def judged(look: int, estimate: float, outcome: Outcome = Outcome.INCONCLUSIVE) -> GateJudged:
    """One look of a gate."""
    figures = (
        VerdictFigure(FigureKind.CANDIDATE_RATE, 0.01 + estimate, "share"),
        VerdictFigure(FigureKind.CHAMPION_RATE, 0.01, "share"),
    )
    reason = f"look {look}: {estimate:.1%} more of the candidate's requests fail <script>alert(1)</script>"
    verdict = Verdict(
        "errors",
        "error_rate",
        outcome,
        Role.GUARDRAIL,
        reason,
        100 * look,
        estimate,
        estimate - 0.02,
        estimate + 0.02,
        0.02,
        "share",
        figures=figures,
        details=({"slice": "origin=LGA", "rate": 0.1},),
    )
    return GateJudged("rollout-1", Stage.RAMPING, 0, look, verdict)


@pytest.fixture
def served(emergency: Emergency) -> Iterator[Emergency]:
    """The page of a stack whose candidate has half of the units, with a few looks behind it."""
    emergency.config = replace(emergency.config, page=f"http://127.0.0.1:{free_port()}")
    emergency.config.save()
    long = f"latency is INCONCLUSIVE: p90 is 124.2 ms on the candidate, 110.3 ms on the champion; {'x' * 60} " * 3
    emergency.append(CandidateRefused("3", "alias", long, "sha256:" + "3" * 64))
    emergency.ramp()
    emergency.append(Paused("rollout-1", Outcome.INCONCLUSIVE, "latency", long))
    for look in range(1, 4):
        emergency.append(judged(look, 0.004 * look))
    with serve_status_page(emergency.config):
        yield emergency


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The page of a journal in which everything has happened; MLflow, Prefect and the gateway are down."""
    home = tmp_path_factory.mktemp("recorded")
    dead = f"http://127.0.0.1:{free_port()}"
    config = Settings(home, home, dead, dead, dead, TOKEN, page=f"http://127.0.0.1:{free_port()}")
    config.save()
    with closing(SqlJournal(config.journal_url, SystemClock())) as journal:
        write_records(config, journal)
    with serve_status_page(config):
        yield config


def get(stack: Emergency, path: str, **headers: str) -> httpx.Response:
    """Ask for a page without a cookie."""
    return httpx.get(stack.config.page + path, headers=headers, timeout=30.0, trust_env=False)


def words(config: Settings, path: str) -> str:
    """What a page says: its main part without tags, in single blanks."""
    answer = httpx.get(config.page + path, headers={"x-fragment": "1"}, timeout=30.0, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert "<script" not in answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def session(stack: Emergency, name: str = "ada") -> httpx.Client:
    """A client that has followed a link that signs in."""
    client = httpx.Client(base_url=stack.config.page, timeout=60.0, trust_env=False, follow_redirects=True)
    key = make_link_key(stack.config.token, name, time.time())
    assert client.get("/sign-in", params={"key": key}).status_code == 200
    return client


def form_token(client: httpx.Client) -> str:
    """The token of the form on the model's page."""
    return client.get(f"/models/{MODEL}").text.partition('name="form_token" value="')[2].partition('"')[0]


def check_readable(config: Settings, page: Page, width: int, theme: str, paths: Iterable[str]) -> None:
    """Open pages in a window of a width, and look for what is wrong with them."""
    said: list[str] = []
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if theme == "dark" else "light"
    )
    try:
        shown = context.new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("dialog", lambda dialog: said.append(dialog.message))
        for path in paths:
            shown.goto(config.page + path)
            shown.locator("#connection", has_text="live").wait_for()
            broken = Axe().run(shown).response["violations"]
            assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in broken] == [], path
            assert shown.evaluate("document.documentElement.scrollWidth") <= width, path
    finally:
        context.close()
    assert [line for line in said if "404" not in line] == []  # the page of a model that does not exist


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_readable(served: Emergency, page: Page, width: int, theme: str) -> None:
    """No page breaks a rule of axe, writes to the console, runs a text of the journal, or is wider than its window."""
    key = make_link_key(served.config.token, "ada", time.time())
    check_readable(served.config, page, width, theme, (*PAGES, f"/sign-in?key={key}", f"/models/{MODEL}"))


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_pages_of_records_are_readable(recorded: Settings, page: Page, width: int, theme: str) -> None:
    """The same holds for the pages of versions, drills and approvals."""
    shown = ("versions/2", "drills", "rollouts/up-4", "rollouts/up-4/approval")
    check_readable(recorded, page, width, theme, [f"{HOME}/{one}" for one in shown])


def test_the_first_screen_answers_what_a_person_asks_at_night(served: Emergency, page: Page) -> None:
    """The page of a model says in its first screen what is served, whether it is well, and what one can do."""
    page.goto(f"{served.config.page}/models/{MODEL}")
    for text in (
        "answers 50 % of the units, and version 1 the rest",
        "promotion of version",
        "Ramping, step 1",
        "gate errors is INCONCLUSIVE",
        "surefoot rollback flights",
    ):
        place = page.get_by_text(text).first
        expect(place).to_be_visible()
        box = place.bounding_box()
        assert box is not None
        assert box["y"] < 1000, text


def test_an_open_page_shows_a_new_entry_by_itself(served: Emergency, page: Page) -> None:
    """A page that is not reloaded shows the next look, and keeps the details open that a person has opened."""
    page.goto(served.config.page + ROLLOUT)
    page.locator("#connection", has_text="live").wait_for()
    page.get_by_text("all numbers").first.click()
    page.evaluate("window.stayed = true")
    served.append(judged(4, 0.05, Outcome.FAIL))
    expect(page.get_by_text("look 4: 5.0% more").first).to_be_visible()
    expect(page.get_by_text("origin=LGA").first).to_be_visible()
    assert page.evaluate("window.stayed")


def test_the_rollout_is_drawn_with_its_limit(served: Emergency) -> None:
    """Split, evidence and both versions are drawn, each with the same in words."""
    text = get(served, ROLLOUT).text
    assert "Traffic of the candidate [% of the units]: 50 %" in text
    assert "errors: candidate against champion [percentage points]: 3 looks" in text
    assert "the last estimate is +1.2 points (-0.8 to +3.2); at most +2 points is accepted" in text
    assert "last, candidate 2.2 % and champion 1 %" in text
    assert text.count("<svg") == 3


def test_rates_are_shown_in_percent(served: Emergency) -> None:
    """The page writes a difference of rates in points and a rate in percent, in sentences, tables and plots."""
    said = words(served.config, ROLLOUT)
    assert "measured +1.2 points (-0.8 to +3.2); accepted at most +2 points" in said
    assert "candidate rate 2.2 %" in said
    assert "slice: origin=LGA; rate: 0.1" in said
    assert not re.search(r"\d share", said)


def test_a_person_takes_a_candidate_back_on_the_page(served: Emergency, page: Page, capfd: object) -> None:
    """A link of `surefoot page` signs in; its button moves traffic, and the journal has the name and the reason."""
    assert served.command("page") == 0
    link = capfd.readouterr().out.splitlines()[0]  # type: ignore[attr-defined]
    page.goto(link)
    page.get_by_role("link", name=MODEL).click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Roll back").click()
    assert served.live().weight == 50.0  # the question was answered with no
    reason = "pager: 12 % of the answers are <b>wrong</b>"
    page.get_by_label("Reason, for the record").fill(reason)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("status")).to_contain_text("answers everything")
    assert (served.live().weight, served.live().candidate) == (0.0, None)
    ended = served.journal.read(MODEL)
    decided = next(entry for entry in ended if entry.kind == "EndDecided")
    assert decided.actor.startswith("page:")
    assert decided.data["reason"] == reason
    page.context.clear_cookies()


def test_nothing_is_done_without_the_right(served: Emergency) -> None:
    """Strangers, forged and old cookies, other sites, and forms of another session change nothing, and get no 5xx."""
    path = f"/models/{MODEL}/act"
    body = {"action": "rollback", "reason": "x"}
    with closing(session(served)) as mine, closing(session(served, "eve")) as other:
        mine_token, other_token = form_token(mine), form_token(other)
        cookie = mine.cookies[SESSION_COOKIE]
    attempts: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, body),
        ({"cookie": f"{SESSION_COOKIE}={cookie[:-1]}x"}, {**body, "form_token": mine_token}),
        ({"cookie": f"{SESSION_COOKIE}=.{cookie.partition('.')[2]}"}, {**body, "form_token": mine_token}),
        ({"cookie": f"{SESSION_COOKIE}={make_link_key(served.config.token, 'ada', time.time())}"}, body),
        ({"cookie": f"{SESSION_COOKIE}={cookie}"}, body),
        ({"cookie": f"{SESSION_COOKIE}={cookie}"}, {**body, "form_token": other_token}),
        ({"cookie": f"{SESSION_COOKIE}={cookie}", "host": "evil.example"}, {**body, "form_token": mine_token}),
        ({"cookie": f"{SESSION_COOKIE}={cookie}"}, {"action": "promote", "form_token": mine_token}),
        ({"cookie": f"{SESSION_COOKIE}={cookie}"}, {**body, "form_token": mine_token, "reason": "x" * 50_000}),
    ]
    head = served.ports.ledger(MODEL).head
    for headers, form in attempts:
        answer = httpx.post(served.config.page + path, headers=headers, data=form, trust_env=False)
        assert 400 <= answer.status_code < 500, (headers, answer.text)
    old = make_link_key(served.config.token, "ada", time.time() - 3600.0)
    assert get(served, f"/sign-in?key={old}").status_code == 403
    assert get(served, f"/sign-in?key={make_link_key('another secret', 'ada', time.time())}").status_code == 403
    assert get(served, "/", host="evil.example").status_code == 421
    assert (served.ports.ledger(MODEL).head, served.live().weight) == (head, 50.0)


def test_a_rollout_is_paused_and_resumed_on_the_page(served: Emergency) -> None:
    """Its button holds a rollout in place and becomes one that lets it go on; the page says who waits for whom."""
    with closing(session(served)) as client:
        form = {"form_token": form_token(client), "reason": "the night shift looks at it first"}
        paused = client.post(f"/models/{MODEL}/act", data={**form, "action": "pause"}).text
        assert "paused: it holds in place" in paused
        assert "paused by a person: the night shift looks at it first" in client.get(ROLLOUT).text
        assert "Resume the rollout" in paused
        rollout = served.ports.ledger(MODEL).rollout
        assert rollout is not None
        assert rollout.held is not None
        resumed = client.post(f"/models/{MODEL}/act", data={**form, "action": "resume"}).text
        assert "Pause the rollout" in resumed
    rollout = served.ports.ledger(MODEL).rollout
    assert rollout is not None
    assert rollout.held is None


def test_an_action_that_cannot_be_done_says_so(served: Emergency) -> None:
    """Aborting when nothing is open is told as not done."""
    with closing(session(served)) as client:
        token = form_token(client)
        first = client.post(f"/models/{MODEL}/act", data={"action": "abort", "reason": "", "form_token": token})
        second = client.post(f"/models/{MODEL}/act", data={"action": "abort", "reason": "", "form_token": token})
    assert "Aborted: version" in first.text
    assert "not done: " in second.text
    assert served.ports.ledger(MODEL).open == ""


# The page that all examples ask is one that none of them may change.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_request_makes_an_error_of_the_server(served: Emergency, data: st.DataObject) -> None:
    """Whatever path, query, header or form is sent: no 5xx, and no state changes."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40)
    parts = data.draw(
        st.lists(
            st.one_of(
                text,
                st.sampled_from(
                    ["models", MODEL, "rollouts", "rollout-1", "approval", "versions", "1", "drills", "act", "events-"]
                ),
            ),
            max_size=5,
        )
    )
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    if path.rstrip("/") == "/events":
        return
    query = data.draw(st.dictionaries(st.sampled_from(["page", "all", "told", "key"]), text, max_size=3))
    head = served.ports.ledger(MODEL).head
    if data.draw(st.booleans()):
        answer = httpx.get(served.config.page + path, params=query, trust_env=False, timeout=30.0)
    else:
        answer = httpx.post(served.config.page + path, data=query, trust_env=False, timeout=30.0)
    assert answer.status_code < 500, (path, query, answer.text)
    assert served.ports.ledger(MODEL).head == head


def test_a_journal_that_cannot_be_read_leaves_the_last_state_with_its_age(
    served: Emergency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page goes on to show what the journal said, and says since when it cannot be read."""
    assert get(served, f"/models/{MODEL}").status_code == 200

    def lost(_journal: SqlJournal) -> NoReturn:
        raise JournalUnavailable("the database does not answer")

    monkeypatch.setattr(SqlJournal, "heads", lost)
    wait_for(lambda: "the database does not answer" in get(served, f"/models/{MODEL}").text)
    text = get(served, f"/models/{MODEL}").text
    assert "this is what it said at" in text
    assert "promotion of version" in text


def test_the_gateway_does_not_serve_it(served: Emergency) -> None:
    """The page is another server than the gateway, whose workers answer callers alone."""
    assert served.config.page_address[1] != httpx.URL(served.config.gateway).port
    assert httpx.get(f"{served.config.gateway}/models/{MODEL}/rollouts/rollout-1", trust_env=False).status_code == 404
    heads = get(served, "/health")
    assert (heads.status_code, heads.text) == (200, "ok")
    with httpx.stream("GET", served.config.page + "/events", trust_env=False, timeout=30.0) as events:
        line = next(one for one in events.iter_lines() if one.startswith("data: "))
    assert json.loads(line.removeprefix("data: ")) == {MODEL: served.ports.ledger(MODEL).head}


def test_a_page_that_cannot_be_served_stops_nothing(emergency: Emergency, caplog: pytest.LogCaptureFixture) -> None:
    """Where its port is taken, or a stack has none, the block runs all the same, and the log says why."""
    ran = []
    with serve_status_page(emergency.config):
        ran.append("without an address")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = replace(emergency.config, page=f"http://127.0.0.1:{other.getsockname()[1]}")
        with serve_status_page(taken):
            ran.append("with a port that is taken")
    assert len(ran) == 2
    assert "the status page is not served" in caplog.text


def test_a_model_that_cannot_be_told_hides_no_other(served: Emergency, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own code in one model becomes its line on the first page; its own page says where to look."""

    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr(page_content, "view_rollout", broken)
    first = get(served, "/")
    assert (first.status_code, "this page cannot tell how it stands (ZeroDivisionError)" in first.text) == (200, True)
    own = get(served, f"/models/{MODEL}")
    assert (own.status_code, "logs/controller.log says why" in own.text) == (500, True)


def test_the_page_of_a_version_says_what_became_of_it(recorded: Settings) -> None:
    """Outcomes with reasons and links, what it answered, its quarantine, origin, model card and incidents are shown."""
    taken = words(recorded, f"{HOME}/versions/2")
    for said in (
        "Version 2 of loans: quarantined",
        "surefoot release loans 2 -m",
        "rollback of version 2 to version 1: brier is worse since Monday",
        "answered everything for 27 d answered a part for 1 d",
        "requests 34,567 matured labels 30,001 brier on 30,000 answers 0.1234",
        "inc-1 2",
        "made by ada change ticket CHG-7 provenance: code commit 1a2b",
        "taken back brier is worse since Monday",
        "traffic on the way 5 % of the units, then all approved by ben@example.com way back version 1",
        "errors error_rate PASS",
    ):
        assert said in taken, said
    links = httpx.get(f"{recorded.page}{HOME}/versions/2", trust_env=False, timeout=30.0).text
    assert all(f'"{HOME}/rollouts/{one}"' in links for one in ("up-2", "back-1"))
    assert f'"{recorded.mlflow}/#/models/{LOANS}/versions/2"' in links
    assert "rollback passed" not in taken
    first = words(recorded, f"{HOME}/versions/1")
    assert "Version 1 of loans: champion" in first
    assert "failed rollback" in first  # the last drill that went back to it
    assert "drift (the drift was not seen" in first
    assert "Rejected promotion of version 3" in words(recorded, f"{HOME}/versions/3")
    assert "never served its files are not those" in words(recorded, f"{HOME}/versions/9")
    assert "on trial" in words(recorded, f"{HOME}/versions/4")
    table = httpx.get(recorded.page + HOME, trust_env=False, timeout=30.0).text
    assert all(f'"{HOME}/versions/{one}"' in table for one in "12349")
    missing = httpx.get(f"{recorded.page}{HOME}/versions/77", trust_env=False, timeout=30.0)
    assert (missing.status_code, "names no version 77" in missing.text) == (404, True)


def test_the_page_of_drills_flags_a_proof_that_is_too_old(recorded: Settings) -> None:
    """Every drill is shown with what it has found, and a stale proof in the words by which promotions are held."""
    said = words(recorded, f"{HOME}/drills")
    for text in (
        "the way back was proven 20 d ago, which is too long; the last drill has failed",
        "last proven 20 d ago, and the policy's drill.expires is 14 d: 'surefoot drill loans' rehearses it",
        "the next one is due now",
        "errors errors 52 31 s 41 ms input that the version cannot take yes",
        "drift not detected - - - - -",
        "3 of 1,200 answers differ, traffic back in 9 ms",
        "rolled back after 40 s",
    ):
        assert text in said, text
    assert [said.index(name) for name in ("drill-table", "drill-bad", "drill-live", "drill-old")] == sorted(
        said.index(name) for name in ("drill-table", "drill-bad", "drill-live", "drill-old")
    )


def test_the_page_of_an_approval_says_what_is_decided(recorded: Settings) -> None:
    """Group, quorum, time left, evidence, who has signed and who may, what follows, commands, and what was refused."""
    said = words(recorded, f"{HOME}/rollouts/up-4/approval")
    for text in (
        "loans waits for 2 approvals of group releasers 1 of 2 approvals until",
        "min left), then the rollout is aborted",
        "version 4 becomes the champion and answers everything",
        'surefoot approve loans -m "why"',
        'surefoot deny loans -m "why"',
        "errors error_rate INCONCLUSIVE",
        "ann@example.com: has approved ben@example.com: has not decided",
        "cyd@example.com: has made the version: another person has to decide",
        "the gates were: errors INCONCLUSIVE",
        "an approval of eve@example.com was refused: eve@example.com is not in group",
    ):
        assert text in said, text
    over = words(recorded, f"{HOME}/rollouts/up-2/approval")
    assert "Step 1: 1 of group releasers approved" in over
    assert "ben@example.com approved it with key SHA256:abc: looks right the gates were: errors PASS" in over
    assert "Step 2: 2 of group releasers not reached" in over
    first = httpx.get(f"{recorded.page}/", trust_env=False, timeout=30.0).text
    assert f'"{HOME}/rollouts/up-4/approval"' in first


def test_the_page_of_a_rollout_says_what_is_still_needed(recorded: Settings) -> None:
    """Matured labels, requests that the step demands, and the forecast of an undecided gate with when it is due."""
    said = words(recorded, f"{HOME}/rollouts/up-4")
    assert "Labels: 280 of 300 requests that are old enough have their label (93.33 %); 3 labels came too late" in said
    assert "this step demands 120 more labelled requests; expected in" in said
    found = re.search(r"between ([\d,]+) and ([\d,]+) more requests until a pass", said)
    assert found is not None
    low, high = (int(one.replace(",", "")) for one in found.groups())
    assert 0 < low < high
    assert "at the traffic of the last 30 min" in said


def test_pages_of_records_survive_a_lost_journal(recorded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the journal lost beside all servers, each page goes on to show what the journal said."""
    before = {path: words(recorded, path) for path in RECORD_PAGES}

    def lost(_journal: SqlJournal) -> NoReturn:
        raise JournalUnavailable("the database does not answer")

    monkeypatch.setattr(SqlJournal, "heads", lost)
    wait_for(lambda: "the database does not answer" in words(recorded, HOME))
    for path, text in before.items():
        heading = text[text.index("loans") : text.index("loans") + 40]
        assert heading in words(recorded, path), path
