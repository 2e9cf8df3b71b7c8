"""Messages leave through Apprise to real HTTP servers, at least once, each with an id, and delay nothing."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from surefoot import exposure, wiring
from surefoot.adapters.config.notify_file import read_notify_config
from surefoot.adapters.notify.apprise_sender import OutgoingMessage, send_messages
from surefoot.adapters.notify.outbox import DeliveryState, Outbox
from surefoot.controller.notifier import Notifier
from surefoot.core.domain import Stage
from surefoot.core.journal.events import ChampionAdopted, DriftFound
from surefoot.core.notify.delivery_schedule import DELIVERY_TIME_LIMIT_S
from surefoot.core.notify.message import Message, Severity, Topic
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.incidents import incident_reports, notifications
from surefoot.rollout import open_due_incidents
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.log_writing import record, write
from tests.integration.receivers import Receiver, listening
from tests.integration.served_stack import HOUR, Clock, Stack
from tests.integration.waiting import wait_for

SECRET = "tok3n-of-the-test"  # noqa: S105 - the test looks for it
ONE = Message(7, Topic.INCIDENT, Severity.PAGE, "m: incident", "what to do", incident="abc")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that takes messages."""
    with listening() as one:
        yield one


@pytest.fixture
def outbox(journal_url: str) -> Iterator[Outbox]:
    """An outbox in each kind of database that a journal is kept in."""
    made = Outbox(journal_url)
    yield made
    made.close()


def write_routes(configs: Path, ports: dict[str, int], **more: object) -> NotifyConfig:
    """Write `notify.yaml`, whose receivers are servers on these ports and get everything."""
    receivers = {
        name: {"url": f"json://127.0.0.1:{port}/hook/${{SUREFOOT_TEST_TOKEN}}"} for name, port in ports.items()
    }
    routes = [{"severities": ["page", "warning", "info"], "to": list(ports)}]
    text = yaml.safe_dump({"receivers": receivers, "routes": routes, **more})
    (configs / "notify.yaml").write_text(text, encoding="utf-8")
    config = read_notify_config(configs)
    assert config is not None
    return config


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack with a log, and a journal in which something will happen."""
    monkeypatch.setenv("SUREFOOT_TEST_TOKEN", SECRET)
    made = Stack(tmp_path / "home", playbook={"send": ["users"]})
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    return made


def queue_all(stack: Stack, routes: NotifyConfig) -> int:
    """What a controller that was just started queues."""
    with wiring.open_journal(stack.config) as journal, notifications.open_outbox(stack.config) as box:
        return notifications.NotificationQueue(stack.config, journal, box).fill(routes)


def test_each_event_is_told_once_with_an_id(stack: Stack, receiver: Receiver) -> None:
    """A rollback is queued once, however often the journal is read, and delivered with the id that the outbox has."""
    routes = write_routes(stack.config.configs, {"team": receiver.port})
    assert queue_all(stack, routes) == 0
    stack.history()
    open_due_incidents(stack.ports, "m")
    assert queue_all(stack, routes) == 3  # incident, end of the rollback, traffic is back
    assert queue_all(stack, routes) == 0
    with notifications.open_outbox(stack.config) as box:
        results = notifications.deliver_batch(stack.config, routes, box, "team")
        assert set(results.values()) == {""}
        assert notifications.deliver_batch(stack.config, routes, box, "team") == {}
        assert [one.state for one in box.latest(9)] == [DeliveryState.DELIVERED] * 3
    assert sorted(receiver.ids) == sorted(results)
    for body, name in zip(receiver.bodies, receiver.ids, strict=True):
        assert str(body["message"]).endswith(f"message {name}")
    assert any("incident" in title for title in receiver.titles)


def test_what_was_journalled_before_the_file_was_written_is_not_told(stack: Stack, receiver: Receiver) -> None:
    """The first round begins where each journal stands; a model that comes later is told of from its first entry."""
    stack.history()
    open_due_incidents(stack.ports, "m")
    routes = write_routes(stack.config.configs, {"team": receiver.port})
    assert queue_all(stack, routes) == 0
    for entry in stack.ports.journal.read("m"):
        stack.journal.append("n", entry.seq - 1, entry.at, entry.actor, entry.kind, entry.data)
    assert queue_all(stack, routes) >= 2


def test_a_dead_receiver_keeps_its_backlog_and_gets_it_when_it_is_back(
    stack: Stack, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is refused waits, is named by `status` and `notify`, and is delivered later under the same id."""
    routes = write_routes(stack.config.configs, {"team": receiver.port})
    queue_all(stack, routes)
    stack.history()
    receiver.status = 503
    queue_all(stack, routes)
    with notifications.open_outbox(stack.config) as box:
        first = notifications.deliver_batch(stack.config, routes, box, "team")
        assert all("503" in problem for problem in first.values())
        assert box.due_receivers(time.time()) == set()
    assert stack.command("notify") == 1
    shown = capfd.readouterr().out
    assert "503" in shown
    stack.command("status")
    said = " ".join(capfd.readouterr().out.split())
    assert "receiver team takes no messages since" in said
    assert SECRET not in shown + said + (stack.home / "journal.db").read_bytes().decode("latin-1")
    receiver.status = 200
    assert stack.command("notify", "--retry", "team") == 0
    assert stack.command("notify", "--json") == 0
    assert receiver.ids[: len(first)] == receiver.ids[len(first) :]
    assert notifications.read_notifier_state(stack.config) == notifications.NotifierState()


def test_two_senders_never_take_the_same_message(outbox: Outbox) -> None:
    """A claim is seen by every other sender, and ends by itself when the sender has died."""
    outbox.positions({})
    assert outbox.queue("m", 7, [("a" * 24, "team", ONE)], 100.0, 1000.0) == 1
    assert outbox.queue("m", 7, [("a" * 24, "team", ONE)], 100.0, 1000.0) == 0
    assert [one.id for one in outbox.claim("team", 100.0, 9)] == ["a" * 24]
    assert outbox.claim("team", 101.0, 9) == []
    (again,) = outbox.claim("team", 100.0 + DELIVERY_TIME_LIMIT_S, 9)
    assert (again.id, again.attempts) == ("a" * 24, 2)
    outbox.settle({again.id: "refused"}, 300.0)
    outbox.settle({again.id: ""}, 301.0)
    outbox.settle({again.id: "refused"}, 302.0)
    (told,) = outbox.unjournalled()
    assert (told.state, told.incident) == (DeliveryState.DELIVERED, "abc")
    outbox.mark_journalled([told.id])
    assert outbox.unjournalled() == []
    assert outbox.positions({"m": 9, "n": 3}) == {"m": (0, 7), "n": (0, 0)}


def test_what_is_too_old_is_given_up_and_reported(outbox: Outbox) -> None:
    """A message that expires is sent no more until a person asks for it, and is listed until it is dismissed."""
    outbox.queue("m", 7, [("b" * 24, "team", ONE)], 100.0, 1000.0)
    assert outbox.expire(999.0) == 0
    assert outbox.expire(1000.0) == 1
    assert outbox.due_receivers(2000.0) == set()
    assert [one.state for one in outbox.undelivered()] == [DeliveryState.EXPIRED]
    assert outbox.reopen("team", 2000.0, 3000.0) == 1
    assert outbox.due_receivers(2000.0) == {"team"}
    assert outbox.dismiss("team", 2001.0) == 1
    assert outbox.undelivered() == []


KILLED = """
import os, signal, sys
from pathlib import Path
from surefoot.incidents import notifications
from surefoot.adapters.config.notify_file import read_notify_config
from surefoot.adapters.notify.outbox import Outbox
from surefoot.settings import read_settings

config = read_settings(Path(sys.argv[1]))
Outbox.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with notifications.open_outbox(config) as outbox:
    notifications.deliver_batch(config, read_notify_config(config.configs), outbox, "team")
"""


def test_a_kill_between_sending_and_marking_sends_again_with_the_same_id(stack: Stack, receiver: Receiver) -> None:
    """The receiver gets the message twice under one id, and the outbox holds it once, as delivered."""
    routes = write_routes(stack.config.configs, {"team": receiver.port})
    queue_all(stack, routes)
    stack.append(1.0, ChampionAdopted(stack.one))
    stack.append(2.0, DriftFound("", "alias champion", "1", "it points to nothing", "champion", "1"))
    assert queue_all(stack, routes) == 1
    done = subprocess.run([sys.executable, "-c", KILLED, str(stack.home)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(receiver.ids) == 1
    assert stack.command("notify", "--retry", "team") == 0
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    with notifications.open_outbox(stack.config) as box:
        assert [one.state for one in box.latest(9)] == [DeliveryState.DELIVERED]


def test_a_receiver_that_never_answers_is_given_up_and_its_secret_is_not_told(receiver: Receiver) -> None:
    """The process that sends is ended after its time; what is told of it names no part of the address."""
    receiver.status = 0
    one = OutgoingMessage("c" * 24, Severity.PAGE, "t", "b")
    said = send_messages(f"json://127.0.0.1:{receiver.port}/{SECRET}?rto=600", [one], patience_s=6.0)
    assert said == {"c" * 24: "no answer within 6 s"}
    receiver.status = 403
    (problem,) = send_messages(f"json://me:{SECRET}@127.0.0.1:{receiver.port}/{SECRET}", [one]).values()
    assert "403" in problem
    (gone,) = send_messages(f"json://127.0.0.1:{free_port()}/{SECRET}", [one]).values()
    assert gone
    assert SECRET not in problem + gone


def test_a_receiver_that_hangs_delays_neither_rollback_nor_other_receivers(
    emergency: Emergency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one receiver holds its message unanswered, a rollback ends and another receiver is told of it."""
    monkeypatch.setenv("SUREFOOT_TEST_TOKEN", SECRET)
    (emergency.home / "configs").mkdir(exist_ok=True)
    with listening() as stuck, listening() as team:
        stuck.status = 0
        write_routes(emergency.home / "configs", {"stuck": stuck.port, "team": team.port})
        with notifications.open_outbox(emergency.config) as box:
            box.positions({MODEL: emergency.ports.ledger(MODEL).head})
        notifier = Notifier(emergency.config)
        notifier.start()
        emergency.ramp()
        assert emergency.command("abort", MODEL, "--reason", "first") == 0
        wait_for(lambda: len(stuck.bodies) >= 1)
        emergency.ramp()
        assert emergency.command("abort", MODEL, "--reason", "second") == 0
        assert emergency.live().weight == 0.0
        ended = [one for one in emergency.ports.ledger(MODEL).rollouts.values() if one.stage is Stage.ABORTED]
        assert len(ended) == 2
        wait_for(lambda: sum("Aborted" in title for title in team.titles) == 2)
        assert not stuck.release.is_set()
        with notifications.open_outbox(emergency.config) as box:
            states = {one.state for one in box.latest(99) if one.receiver == "stuck"}
        assert DeliveryState.DELIVERED not in states
        notifier.stop()


def test_every_tick_calls_the_heartbeat_address(stack: Stack, receiver: Receiver) -> None:
    """Ticks call the address, unless a call is under way; one that fails is told by `status`, and stops no tick."""
    beats = {"heartbeat": {"url": f"http://127.0.0.1:{receiver.port}/beat/${{SUREFOOT_TEST_TOKEN}}"}}
    write_routes(stack.config.configs, {"team": receiver.port}, **beats)
    notifier = Notifier(stack.config)
    notifier.start()

    def called(count: int) -> bool:
        notifier.tick()
        return len(receiver.paths) >= count

    for count in (1, 2, 3):
        wait_for(lambda count=count: called(count))  # type: ignore[misc]
    wait_for((stack.home / "heartbeat.json").is_file)
    assert set(receiver.paths) == {f"/beat/{SECRET}"}
    receiver.status = 500

    def failed() -> bool:
        notifier.tick()
        return bool(notifications.read_notifier_state(stack.config).heartbeat_problem)

    wait_for(failed)
    state = notifications.read_notifier_state(stack.config)
    assert state.heartbeat_problem == "it answers with status 500"
    assert SECRET not in (stack.home / "heartbeat.json").read_text(encoding="utf-8")
    notifier.stop()


def test_who_was_told_what_stands_in_the_report(stack: Stack, receiver: Receiver) -> None:
    """Users are sent the draft as the policy says; the report, the journal and the playbook name it, once."""
    routes = write_routes(stack.config.configs, {"team": receiver.port}, people={"users": ["team"]})
    queue_all(stack, routes)
    stack.history()
    lines = [
        record(n, 10 * HOUR + n * 10.0, answered_by="2" if n % 5 == 0 else "1", unit=f"u{n}") for n in range(1, 200)
    ]
    write(stack.config.log, lines)
    exposure.write_due_exposure(stack.config, stack.ports, "m")
    incident_reports.update_incident_reports(stack.config, stack.ports, "m")
    (incident,) = stack.ports.ledger("m").incidents.known.values()
    assert set(incident.drafts) == {"users", "support", "management"}
    assert [name for name, one in incident.drafts.items() if one.send] == ["users"]
    queue_all(stack, routes)
    with notifications.open_outbox(stack.config) as box:
        notifications.deliver_batch(stack.config, routes, box, "team")
    assert sum("may have been wrong" in str(body["message"]) for body in receiver.bodies) >= 1
    assert notifications.unjournalled_deliveries(stack.config)
    assert notifications.journal_deliveries(stack.config, stack.ports, "m")
    assert notifications.journal_deliveries(stack.config, stack.ports, "m") == []
    incident_reports.update_incident_reports(stack.config, stack.ports, "m")
    text = (stack.home / "incidents" / "m" / f"{incident.name}.md").read_text(encoding="utf-8")
    assert "through receiver team" in text
    assert "notifier: incident" in text
    noted = [one for one in stack.journal.read("m") if one.kind == "IncidentNoted"]
    assert {one.actor for one in noted} == {"notifier"}
    assert {one.data["source"] for one in noted} == {"users", "receiver team"}


def test_an_incident_is_one_alert_in_pagerduty(
    stack: Stack, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All about an incident has its id as key; closing it resolves the alert, though the route takes pages only."""
    key = "0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("PAGERDUTY_KEY", key)
    url = f"pagerduty://${{PAGERDUTY_KEY}}@127.0.0.1:{receiver.port}"
    receivers = {"oncall": {"kind": "pagerduty", "url": url}}
    text = yaml.safe_dump({"receivers": receivers, "routes": [{"severities": "page", "to": "oncall"}]})
    (stack.config.configs / "notify.yaml").write_text(text, encoding="utf-8")
    routes = read_notify_config(stack.config.configs)
    assert routes is not None
    queue_all(stack, routes)
    stack.history()
    (incident,) = open_due_incidents(stack.ports, "m")
    queue_all(stack, routes)
    with notifications.open_outbox(stack.config) as box:
        receiver.status = 503
        (problem,) = notifications.deliver_batch(stack.config, routes, box, "oncall").values()
        assert problem == "PagerDuty answers 503:"
        assert stack.command("incident", "close", incident, "corrected") == 0
        queue_all(stack, routes)
        receiver.status = 202
        assert set(notifications.deliver_batch(stack.config, routes, box, "oncall").values()) == {""}
        assert [(one["event_action"], one["dedup_key"]) for one in receiver.bodies[1:]] == [("resolve", incident)]
        late = notifications.deliver_batch(stack.config, routes, box, "oncall", due_only=False)
    assert set(late.values()) == {""}
    assert {one["routing_key"] for one in receiver.bodies} == {key}
    assert [(one["event_action"], one["dedup_key"]) for one in receiver.bodies[2:]] == [
        ("trigger", incident),  # what came late is told, and opens no alert that stays
        ("resolve", incident),
    ]
    assert set(receiver.paths) == {"/v2/enqueue"}


def test_a_test_message_is_sent_at_once(
    stack: Stack, receiver: Receiver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`notify --test` says whether a receiver takes messages; one that is not there, or has no secret, is refused."""
    assert stack.command("notify") == 2
    assert "there is no" in capfd.readouterr().err
    write_routes(stack.config.configs, {"team": receiver.port})
    assert stack.command("notify", "--test", "team") == 0
    assert receiver.titles == ["surefoot: a test message"]
    assert stack.command("notify", "--test", "nowhere") == 2
    receiver.status = 500
    assert stack.command("notify", "--test", "team") == 4
    monkeypatch.delenv("SUREFOOT_TEST_TOKEN")
    assert stack.command("notify", "--test", "team") == 2
    shown = capfd.readouterr()
    assert "SUREFOOT_TEST_TOKEN is not set" in shown.err
    assert SECRET not in shown.out + shown.err


def test_lint_checks_addresses_and_audiences(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Secrets in the file, addresses that Apprise cannot read, and audiences without a receiver are refused."""
    text = "receivers:\n  a: {url: 'slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ'}\n  b: {url: 'nosuch://x'}\n"
    (stack.config.configs / "notify.yaml").write_text(text, encoding="utf-8")
    assert stack.command("lint", "--project", str(stack.home)) == 2
    said = capfd.readouterr().out.replace("\n", " ")
    assert "notify.yaml:2: receivers.a.url: holds a secret" in said
    assert "notify.yaml:3: receivers.b.url: is no address that Apprise reads" in said
    assert "names no receiver for 'users'" in said
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in said
    text = "receivers:\n  a: {kind: pagerduty, url: 'pagerduty://0123456789abcdef0123456789abcdef'}\n"
    text += "  b: {kind: pagerduty, url: 'json://h'}\n"
    (stack.config.configs / "notify.yaml").write_text(text, encoding="utf-8")
    stack.command("lint", "--project", str(stack.home))
    said = capfd.readouterr().out.replace("\n", " ")
    assert "notify.yaml:2: receivers.a.url: holds a secret" in said
    assert "notify.yaml:3: receivers.b.url: is no address of kind pagerduty" in said
    assert "0123456789abcdef" not in said
    write_routes(stack.config.configs, {"team": free_port()}, people={"users": "team"})
    stack.command("lint", "--project", str(stack.home), "--json")
    assert json.loads(capfd.readouterr().out)["notify"] == {"errors": [], "notes": []}
