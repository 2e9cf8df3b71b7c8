"""Which messages the journal asks for, who they go to, and which files of receivers are refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from surefoot.adapters.config.notify_file import read_notify_config
from surefoot.adapters.config.policy_folder import list_policy_files
from surefoot.adapters.notify.secret_address import redact_address, resolve_address
from surefoot.core.domain import FailoverLevel, Outcome, RolloutKind, Stage
from surefoot.core.errors import PolicyInvalid, Rejected
from surefoot.core.incidents.incident_events import (
    IncidentClosed,
    IncidentNoted,
    IncidentReported,
    MessageDrafted,
    NoteKind,
)
from surefoot.core.incidents.report_deadlines import DAY_S
from surefoot.core.journal.events import (
    LIVE_SPLIT_DRIFT_NAME,
    ChampionAdopted,
    DriftFound,
    EndDecided,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
)
from surefoot.core.journal.fallback_events import FallbackBegan
from surefoot.core.journal.served_version_events import ExposureListed
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.notify.delivery_schedule import compute_retry_delay
from surefoot.core.notify.journal_messages import derive_entry_messages
from surefoot.core.notify.message import Message, Severity, Topic, derive_message_id
from surefoot.core.notify.reminders import derive_due_reminders, derive_restored_message
from surefoot.core.notify.routing import choose_receivers
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.recovery.notify_config import NotifyConfig, Receiver, SecretAddress
from surefoot.core.policy.recovery.playbook import NO_PLAYBOOK
from surefoot.rollout import close_incident, open_due_incidents
from tests.fakes import POLICY
from tests.unit.test_incidents import ONE, TWO, Told

ROUTES = NotifyConfig.model_validate(
    {
        "receivers": {"pager": {"url": "json://h/p"}, "team": {"url": "json://h/t"}, "users": {"url": "json://h/u"}},
        "routes": [
            {"severities": ["page"], "to": ["pager", "team"]},
            {"models": ["m"], "severities": ["page", "warning"], "to": "team"},
            {"models": ["other"], "severities": ["page", "warning", "info"], "to": ["users"]},
            {"severities": "info", "topics": ["closed"], "to": ["team"]},
        ],
        "people": {"users": ["users"], "owner": "team"},
    }
)


def messages(told: Told) -> list[Message]:
    """What all entries of the journal ask for."""
    return list(derive_entry_messages(told.ports.ledger("m"), told.ports.journal.read("m")))


def topics(told: Told) -> list[tuple[str, str]]:
    """Topic and severity of each message."""
    return [(one.topic.value, one.severity.value) for one in messages(told)]


def test_a_promotion_that_ends_well_is_one_message_of_no_hurry() -> None:
    """Stages, looks and splits tell people nothing; the end of the promotion does."""
    told = Told()
    told.promote(100.0)
    assert topics(told) == [("promotion", "info")]
    assert "promotion of version 2 ended as Promoted" in messages(told)[0].title


def test_a_rollback_pages_once_and_tells_its_end() -> None:
    """The incident pages; that traffic is back, the end of the rollback and the closing do not."""
    told = Told()
    told.promote(100.0)
    told.roll_back(1000.0)
    (name,) = open_due_incidents(told.ports, "m")
    close_incident(told.ports, "m", IncidentClosed(name, "feed", "mended"))
    assert topics(told) == [
        ("promotion", "info"), ("rollback", "warning"), ("incident", "page"), ("closed", "info"),
    ]  # fmt: skip
    incident = told.ports.ledger("m").incidents.known[name]
    restored = derive_restored_message("m", told.ports.journal.read("m"), incident)
    assert restored is not None
    assert (restored.topic, restored.severity) == (Topic.RESTORED, Severity.WARNING)
    assert "version 1 answers everything" in restored.body


def test_traffic_that_is_not_back_is_not_told_to_be() -> None:
    """An incident whose version still answers has no message of its restoration."""
    told = Told()
    told.promote(100.0)
    told.at(1000.0, IncidentOpened("abc", "r1", TWO, "base rate", "the base rate has doubled"))
    (incident,) = told.ports.ledger("m").incidents.known.values()
    assert derive_restored_message("m", told.ports.journal.read("m"), incident) is None


def test_waits_drift_and_fallbacks_are_told() -> None:
    """A pause and a moved alias warn; a split that differs and a champion that fails page."""
    told = Told()
    told.promote(100.0)
    told.at(200.0, RolloutOpened("r9", RolloutKind.PROMOTION, ONE, TWO, {}, "", "", "s", 1, "try"))
    told.at(210.0, Paused("r9", Outcome.INCONCLUSIVE, "quality", "too few labels"))
    told.at(220.0, DriftFound("", "alias champion", "2", "it points to version 1", "champion", "2"))
    told.at(230.0, DriftFound("", LIVE_SPLIT_DRIFT_NAME, "version 2", "the gateway serves version 1"))
    told.at(240.0, FallbackBegan(TWO, "constant", "ValueError: could not convert 'Jane Doe'", FailoverLevel.FALLBACK))
    assert topics(told)[1:] == [("wait", "warning"), ("drift", "warning"), ("drift", "page"), ("fallback", "page")]
    assert not any("Jane Doe" in one.title + one.body for one in messages(told))


def test_what_an_error_quotes_does_not_leave() -> None:
    """The reason of a cut by the gateway quotes an error, which may hold a value of a request: no message has it."""
    told = Told()
    told.at(0.0, ChampionAdopted(ONE))
    told.at(1.0, RolloutOpened("r1", RolloutKind.PROMOTION, TWO, ONE, {}, "", "", "s", 1, "try"))
    told.split(2.0, "r1", SetSplit(ONE, TWO, 20.0))
    told.at(3.0, EndDecided("r1", Stage.ROLLED_BACK, "tripwire", "5 of 9 failed: ValueError: 'Jane Doe'"))
    told.at(4.0, RolloutEnded("r1", Stage.ROLLED_BACK, "5 of 9 failed: ValueError: 'Jane Doe'"))
    open_due_incidents(told.ports, "m")
    found = messages(told)
    assert [one.topic for one in found] == [Topic.ROLLBACK, Topic.INCIDENT]
    assert not any("Jane Doe" in one.title + one.body for one in found)
    assert "the gateway cut it off" in found[1].title


def test_roles_are_called_when_their_time_has_come_and_not_after_they_were() -> None:
    """An escalation is due from its time on, until it is recorded as done, the incident is closed, or it is too old."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    told.scenario.clock.time = 1000.0
    (name,) = open_due_incidents(told.ports, "m")
    calls = {"roles": {"owner": ["ada"]}, "escalate": [{"after": "15m", "to": "owner"}]}
    playbook = parse_policy({**POLICY, "playbook": calls}).playbook

    def due(now: float) -> list[tuple[str, str]]:
        incident = told.ports.ledger("m").incidents.known[name]
        return [(one.topic.value, one.whom) for one in derive_due_reminders("m", incident, playbook, now, now - DAY_S)]

    assert due(1000.0 + 899.0) == []
    assert due(1000.0 + 900.0) == [("escalation", "owner")]
    assert ("escalation", "owner") not in due(1000.0 + 900.0 + DAY_S + 1.0)
    told.at(1100.0, IncidentNoted(name, NoteKind.STEP, "done", "call-1-owner"))
    assert due(1000.0 + 900.0) == []


def test_each_period_of_the_law_has_one_reminder_a_day_before_its_end() -> None:
    """After 1, 9 and 14 days an open incident reminds; a closed one does not."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    told.scenario.clock.time = 1000.0
    (name,) = open_due_incidents(told.ports, "m")
    incident = told.ports.ledger("m").incidents.known[name]
    keys = [
        [one.key for one in derive_due_reminders("m", incident, NO_PLAYBOOK, now, now - DAY_S / 2.0)]
        for now in (1000.0 + day * DAY_S for day in (0.9, 1.1, 8.9, 9.1, 14.1, 16.0))
    ]
    assert keys == [[], ["2-days"], [], ["10-days"], ["15-days"], []]
    close_incident(told.ports, "m", IncidentClosed(name, "feed", "mended"))
    closed = told.ports.ledger("m").incidents.known[name]
    assert list(derive_due_reminders("m", closed, NO_PLAYBOOK, 1000.0 + 1.1 * DAY_S, 0.0)) == []


def test_routes_choose_by_model_severity_and_topic() -> None:
    """Every route that takes a message adds its receivers, each once."""
    page = Message(1, Topic.INCIDENT, Severity.PAGE, "t", "b")
    closed = Message(1, Topic.CLOSED, Severity.INFO, "t", "b")
    ended = Message(1, Topic.PROMOTION, Severity.INFO, "t", "b")
    assert choose_receivers(ROUTES, "m", page) == ("pager", "team")
    assert choose_receivers(ROUTES, "other", page) == ("pager", "team", "users")
    assert choose_receivers(ROUTES, "m", closed) == ("team",)
    assert choose_receivers(ROUTES, "m", ended) == ()


def test_a_text_for_users_goes_to_their_receivers_alone() -> None:
    """A draft follows no route; a role with receivers of its own is called there, another one through the routes."""
    draft = Message(1, Topic.DRAFT, Severity.PAGE, "t", "b", whom="users")
    assert choose_receivers(ROUTES, "m", draft) == ("users",)
    assert choose_receivers(ROUTES, "m", Message(1, Topic.DRAFT, Severity.PAGE, "t", "b", whom="support")) == ()
    call = Message(1, Topic.ESCALATION, Severity.PAGE, "t", "b", whom="owner")
    assert choose_receivers(ROUTES, "m", call) == ("team",)
    other = Message(1, Topic.ESCALATION, Severity.PAGE, "t", "b", whom="lead")
    assert choose_receivers(ROUTES, "m", other) == ("pager", "team")


def test_only_what_the_policy_names_is_sent() -> None:
    """A draft that the policy does not send is no message; one that it sends has the subject as its title."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    before = len(messages(told))
    told.at(300.0, MessageDrafted(name, "support", "Subject: kept\n\ntext"))
    told.at(301.0, MessageDrafted(name, "users", "Subject: Answers may be wrong\n\nSince 10:00.\n", send=True))
    told.at(302.0, MessageDrafted(name, "odd", "", send=True, problem="there is no template"))
    (draft,) = messages(told)[before:]
    assert (draft.title, draft.body, draft.whom) == ("Answers may be wrong", "Since 10:00.", "users")


def test_a_message_is_drafted_at_once_and_again_when_answers_are_counted() -> None:
    """Each audience has a draft after the first report, and a second one that names numbers; a closed incident none."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")

    def due() -> tuple[str, ...]:
        return told.ports.ledger("m").incidents.known[name].due_drafts(("users", "support"))

    assert due() == ()
    told.at(300.0, IncidentReported(name, 1, "f", "d"))
    assert due() == ("users", "support")
    told.at(301.0, MessageDrafted(name, "users", "Subject: a"), MessageDrafted(name, "support", "Subject: b"))
    assert due() == ()
    told.at(302.0, ExposureListed("r1", "2", "f", "d", 5), IncidentReported(name, 9, "f", "d", 5))
    assert due() == ("users", "support")
    told.at(303.0, MessageDrafted(name, "users", "Subject: a", counted=True))
    assert due() == ("support",)
    close_incident(told.ports, "m", IncidentClosed(name, "feed", "mended"))
    assert due() == ()


def test_the_id_is_the_same_for_the_same_message_and_receiver_only() -> None:
    """Journal, model, entry, topic, key and receiver make the id; text and time do not."""
    one = Message(7, Topic.ESCALATION, Severity.PAGE, "t", "b", "call-1")
    same = Message(7, Topic.ESCALATION, Severity.PAGE, "other", "text", "call-1")
    assert derive_message_id("j", "m", one, "a") == derive_message_id("j", "m", same, "a")
    others = {
        derive_message_id("k", "m", one, "a"),
        derive_message_id("j", "n", one, "a"),
        derive_message_id("j", "m", one, "b"),
        derive_message_id("j", "m", Message(8, Topic.ESCALATION, Severity.PAGE, "t", "b", "call-1"), "a"),
        derive_message_id("j", "m", Message(7, Topic.ESCALATION, Severity.PAGE, "t", "b", "call-2"), "a"),
        derive_message_id("j", "m", one, "a"),
    }
    assert len(others) == 6


def test_pauses_double_up_to_a_quarter_of_an_hour() -> None:
    """A receiver that refuses is asked ever less often, and at least every 15 minutes."""
    assert [compute_retry_delay(n) for n in (1, 2, 3, 7, 8, 5000)] == [15.0, 30.0, 60.0, 900.0, 900.0, 900.0]


WRONG = [
    ("receivers: {a: {}}", 1, "needs one of url and url_file"),
    ("receivers: {a: {url: 'json://h', url_file: f}}", 1, "needs one of url and url_file"),
    ("receivers:\n  a: {url: 'json://h/${1X}'}", 2, "names no environment variable"),
    ("receivers:\n  a: {url: 'json://h/${X'}", 2, "names no environment variable"),
    ("receivers:\n  a: {url: 'json://h'}\nroutes:\n  - {severities: [page], to: [b]}", 4, "names the receiver 'b'"),
    ("receivers:\n  a: {url: 'json://h'}\nroutes:\n  - {severities: [loud], to: [a]}", 4, "page, warning, info"),
    ("receivers:\n  a: {url: 'json://h'}\nroutes:\n  - {severities: [page], to: [], model: m}", 4, "'model'"),
    ("receivers:\n  a: {url: 'json://h'}\nroutes:\n  - {severities: [page], to: []}", 4, "names no receiver"),
    ("receivers:\n  a: {url: 'json://h'}\npeople: {users: [b]}", 3, "names the receiver 'b'"),
    ("receivers:\n  a: {url: 'json://h'}\n  a: {url: 'json://i'}", 3, "written twice"),
    ("receivers:\n  a: {url: 'json://h'}\nheartbeat: {url: 'http://h', every: 60}", 3, "a duration"),
    ("receivers:\n  a: {url: 'json://h'}\nexpires: 0s", 3, "above 0s"),
    ("routes: []", 1, "'receivers' is missing"),
    ("- a", 1, "is a mapping of keys to values"),
    ("", 1, "the file is empty"),
]


@pytest.mark.parametrize(("text", "line", "rule"), WRONG)
def test_a_wrong_file_is_refused_with_line_and_rule(text: str, line: int, rule: str, tmp_path: Path) -> None:
    """Unknown and duplicate keys, unknown names and missing addresses are refused, each in one line."""
    (tmp_path / "notify.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyInvalid) as refused:
        read_notify_config(tmp_path)
    assert (refused.value.line, rule in refused.value.rule) == (line, True), refused.value
    assert "\n" not in str(refused.value)


def test_the_file_is_no_policy(tmp_path: Path) -> None:
    """A folder with `notify.yaml` alone holds no policy, and one without it sends no message."""
    assert read_notify_config(tmp_path) is None
    (tmp_path / "notify.yaml").write_text("receivers: {a: {url: 'json://h'}}", encoding="utf-8")
    assert list_policy_files(tmp_path) == []
    assert read_notify_config(tmp_path) is not None


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of address are resolved where the message leaves; what is missing is named, and no secret."""
    monkeypatch.setenv("TOKEN_OF_TEST", "s3cret-token")
    address = SecretAddress.model_validate({"url": "json://h/${TOKEN_OF_TEST}/x"})
    assert resolve_address(address, tmp_path) == "json://h/s3cret-token/x"
    (tmp_path / "address").write_text("slack://s3cret/token\n", encoding="utf-8")
    assert resolve_address(Receiver.model_validate({"url_file": "address"}), tmp_path) == "slack://s3cret/token"
    monkeypatch.delenv("TOKEN_OF_TEST")
    with pytest.raises(Rejected, match="TOKEN_OF_TEST is not set"):
        resolve_address(address, tmp_path)
    with pytest.raises(Rejected, match="cannot be read"):
        resolve_address(Receiver.model_validate({"url_file": "nowhere"}), tmp_path)
    (tmp_path / "address").write_text("two addresses", encoding="utf-8")
    with pytest.raises(Rejected, match="must hold one address"):
        resolve_address(Receiver.model_validate({"url_file": "address"}), tmp_path)


@pytest.mark.parametrize(
    ("address", "said", "kept"),
    [
        ("json://user:hunter2@host.eu/a/tok3n?x=v4lue", "host.eu refused /a/tok3n?x=v4lue of user:hunter2", "host.eu"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdn", "failed: https://hooks/T1JJ3T3L2/A1BRTD4JD/TIiajkdn", "failed"),
        ("jsons://host/pass%20word", "the path pass word, or pass%20word", "the path"),
    ],
)  # fmt: skip
def test_what_a_library_says_holds_no_secret(address: str, said: str, kept: str) -> None:
    """Every part of an address but scheme and a plain host is hidden, also where it is written otherwise."""
    shown = redact_address(said, address)
    assert kept in shown
    for secret in ("hunter2", "tok3n", "v4lue", "T1JJ3T3L2", "TIiajkdn", "pass word", "pass%20word"):
        assert secret not in shown


def test_a_config_never_changes() -> None:
    """What was read cannot be altered by the code that uses it."""
    with pytest.raises(ValidationError):
        ROUTES.expires = 1.0
