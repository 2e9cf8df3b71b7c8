"""Queue notifications in an outbox, deliver them with retries, send heartbeats, and report delivery problems."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from secrets import token_hex

from surefoot import wiring
from surefoot.adapters.config.notify_file import NOTIFY_FILE, read_notify_config
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.notify.apprise_sender import MAX_BATCH_MESSAGES, OutgoingMessage, send_messages
from surefoot.adapters.notify.heartbeat import call_heartbeat
from surefoot.adapters.notify.outbox import DeliveryState, Outbox, QueuedMessage
from surefoot.adapters.notify.secret_address import resolve_address
from surefoot.core.errors import NotFound, PolicyInvalid, Rejected
from surefoot.core.incidents.incident_events import IncidentNoted, NoteKind
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.notify.journal_messages import derive_entry_messages
from surefoot.core.notify.message import Message, Severity, derive_message_id
from surefoot.core.notify.reminders import derive_due_reminders, derive_restored_message
from surefoot.core.notify.routing import choose_receivers
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.core.policy.recovery.playbook import NO_PLAYBOOK
from surefoot.rollout import Ports, add_incident_note
from surefoot.settings import Settings

_ACTOR = "notifier"
_HEARTBEAT_STATE = "heartbeat.json"


@contextmanager
def open_outbox(config: Settings) -> Iterator[Outbox]:
    """The outbox; its connections are closed at the end."""
    outbox = Outbox(config.journal_url)
    try:
        yield outbox
    finally:
        outbox.close()


class NotificationQueue:
    """Reads new journal entries, and queues the notifications that they require."""

    def __init__(self, config: Settings, journal: SqlJournal, outbox: Outbox) -> None:
        """Read nothing yet.

        Args:
            config: Where everything is.
            journal: The journal.
            outbox: Where messages are queued.
        """
        self._config, self._journal, self._outbox = config, journal, outbox
        self._playbooks = SettingByModel(config.configs, lambda policy: policy.playbook)
        self._ledgers: dict[str, Ledger] = {}
        self._first: dict[str, str] = {}
        self._queued: set[str] = set()

    def fill(self, routes: NotifyConfig) -> int:
        """Queue every message that is due by now, each once; how many were new.

        Raises:
            SurefootError: The journal or the outbox cannot be used.
        """
        heads = {model: seq for model, (seq, _) in self._journal.heads().items()}
        positions = self._outbox.positions(heads)
        now, new = wiring.make_clock(self._config).now(), 0
        for model, head in heads.items():
            first, seen = positions[model]
            messages = [*self._news(model, seen, head), *self._due(model, first, seen, head, now - routes.expires, now)]
            new += self._queue(routes, model, (seen, head), messages)
        return new

    def _ledger(self, model: str, head: int) -> Ledger:
        """The state of a model; only new entries are read."""
        ledger = self._ledgers.get(model, Ledger(model))
        if ledger.head < head:
            ledger = fold_entries(model, self._journal.read(model, after=ledger.head), ledger)
            self._ledgers[model] = ledger
        return ledger

    def _news(self, model: str, seen: int, head: int) -> list[Message]:
        """Messages of entries that were not read yet."""
        if head <= seen:
            return []
        entries = [entry for entry in self._journal.read(model, after=seen) if entry.seq <= head]
        return list(derive_entry_messages(self._ledger(model, head), entries))

    def _due(self, model: str, first: int, seen: int, head: int, oldest: float, now: float) -> Iterator[Message]:
        """Messages that time asks for, or several entries together."""
        for incident in self._ledger(model, head).incidents.known.values():
            if incident.seq <= first:
                continue
            if incident.closed is None:
                yield from derive_due_reminders(model, incident, self._playbooks.get(model, NO_PLAYBOOK), now, oldest)
            if incident.changed > seen:
                found = derive_restored_message(model, self._journal.read(model), incident)
                if found is not None:
                    yield found

    def _queue(self, routes: NotifyConfig, model: str, read: tuple[int, int], messages: Sequence[Message]) -> int:
        """Write messages for the receivers of each, and how far the journal was read."""
        if messages and model not in self._first:
            self._first[model] = self._journal.read(model)[0].hash
        rows = [
            (derive_message_id(self._first[model], model, one, receiver), receiver, one)
            for one in messages
            for receiver in choose_receivers(routes, model, one)
        ]
        rows = [row for row in rows if row[0] not in self._queued]
        seen, head = read
        if not rows and head <= seen:
            return 0
        now = time.time()
        new = self._outbox.queue(model, head, rows, now, now + routes.expires)
        self._queued |= {name for name, _, _ in rows}
        return new


def deliver_batch(
    config: Settings, routes: NotifyConfig, outbox: Outbox, receiver: str, *, due_only: bool = True
) -> dict[str, str]:
    """Send the oldest messages for one receiver that are due; returns when each is settled.

    Returns:
        Why each was not delivered, by id; empty for one that was.

    Raises:
        SurefootError: The outbox cannot be used.
    """
    batch = outbox.claim(receiver, time.time(), MAX_BATCH_MESSAGES, due_only=due_only)
    if not batch:
        return {}
    try:
        address = _address(config, routes, receiver)
    except Rejected as error:
        results = {one.id: str(error) for one in batch}
    else:
        over = outbox.closed_incidents(receiver)
        sent = [
            OutgoingMessage(m.id, m.severity, m.title, m.body, m.incident, m.topic, m.incident in over) for m in batch
        ]
        results = send_messages(address, sent, kind=routes.receivers[receiver].kind)
    outbox.settle(results, time.time())
    return results


def _address(config: Settings, routes: NotifyConfig, receiver: str) -> str:
    """The address of a receiver.

    Raises:
        Rejected: There is no such receiver, or its secret is not there.
    """
    if receiver not in routes.receivers:
        known = ", ".join(routes.receivers) or "none"
        raise NotFound(f"{NOTIFY_FILE} names no receiver {receiver}; receivers: {known}")
    return resolve_address(routes.receivers[receiver], config.project)


def send_test_notification(config: Settings, routes: NotifyConfig, receiver: str) -> str:
    """Send a test message at once; why it was not delivered, or nothing.

    Raises:
        Rejected: There is no such receiver, or its secret is not there.
    """
    address = _address(config, routes, receiver)
    text = "This is a test of surefoot's notifier: nothing has happened."
    one = OutgoingMessage(token_hex(12), Severity.INFO, "surefoot: a test message", text)
    return send_messages(address, [one], kind=routes.receivers[receiver].kind)[one.id]


def send_heartbeat(config: Settings, routes: NotifyConfig) -> str:
    """Call the heartbeat address once, and remember whether it answered; why it did not, or nothing."""
    if routes.heartbeat is None:
        return ""
    try:
        problem = call_heartbeat(resolve_address(routes.heartbeat, config.project))
    except Rejected as error:
        problem = str(error)
    file = config.home / _HEARTBEAT_STATE
    before = _heartbeat_state(config)
    since = before.get("since") if before.get("problem") and problem else time.time()
    with contextlib.suppress(OSError):  # a full disk must not stop a heartbeat
        file.write_text(json.dumps({"problem": problem, "since": since, "at": time.time()}), encoding="utf-8")
    return problem


def _heartbeat_state(config: Settings) -> Mapping[str, object]:
    """What became of the latest heartbeat; nothing before the first."""
    try:
        found = json.loads((config.home / _HEARTBEAT_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def journal_deliveries(config: Settings, ports: Ports, model: str) -> list[str]:
    """Journal what was delivered about the incidents of a model, each message once, so that their reports say it.

    Returns:
        What was journalled, one line each.

    Raises:
        SurefootError: The journal or the outbox cannot be used.
    """
    if not (config.configs / NOTIFY_FILE).is_file():
        return []
    with open_outbox(config) as outbox:
        delivered = [one for one in outbox.unjournalled() if one.model == model]
        done = []
        for one in delivered:
            incident = ports.ledger(model).incidents.known.get(one.incident)
            told = incident is None or any(one.id in note.event.text for note in incident.notes)
            if not told:
                text = f"{one.title} (message {one.id} through receiver {one.receiver})"
                note = IncidentNoted(one.incident, NoteKind.MESSAGE, text, one.whom or f"receiver {one.receiver}")
                add_incident_note(replace(ports, actor=_ACTOR), model, note)
                done.append(f"incident {one.incident}: {one.whom or one.receiver} was told")
            outbox.mark_journalled([one.id])
    return done


def unjournalled_deliveries(config: Settings) -> list[tuple[str, str]]:
    """Id and model of what was delivered about incidents and is not in the journal yet.

    Raises:
        SurefootError: The outbox cannot be read.
    """
    if not (config.configs / NOTIFY_FILE).is_file():
        return []
    with open_outbox(config) as outbox:
        return [(one.id, one.model) for one in outbox.unjournalled()]


@dataclass(frozen=True, slots=True)
class ReceiverBacklog:
    """Messages that were not delivered to one receiver, and why.

    Attributes:
        receiver: Its name.
        waiting: Messages that are still tried [count].
        expired: Messages that were given up [count].
        since: When an attempt failed first [Unix seconds of the host]; None where none has failed.
        problem: Why the latest of them failed; empty where none has.
    """

    receiver: str
    waiting: int = 0
    expired: int = 0
    since: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NotifierState:
    """Problems in the delivery of notifications: routing file, backlogs, heartbeat.

    Attributes:
        file_problem: What is wrong with `configs/notify.yaml`; empty where nothing is.
        backlogs: Receivers to which something was not delivered.
        heartbeat_problem: Why the heartbeat address did not answer; empty where it did.
        heartbeat_since: Since when it does not [Unix seconds of the host].
    """

    file_problem: str = ""
    backlogs: tuple[ReceiverBacklog, ...] = field(default=())
    heartbeat_problem: str = ""
    heartbeat_since: float = 0.0


def read_notifier_state(config: Settings) -> NotifierState:
    """Read the problems in the delivery of notifications; none where no receivers are configured.

    Raises:
        SurefootError: The outbox cannot be read.
    """
    file_problem, beats = "", False
    try:
        routes = read_notify_config(config.configs)
        if routes is None:
            return NotifierState()
        beats = routes.heartbeat is not None
    except PolicyInvalid as error:
        file_problem = str(error)
    found: dict[str, list[QueuedMessage]] = {}
    with open_outbox(config) as outbox:
        for one in outbox.undelivered():
            if one.problem or one.state is DeliveryState.EXPIRED:
                found.setdefault(one.receiver, []).append(one)
    state = _heartbeat_state(config) if beats else {}
    return NotifierState(
        file_problem,
        tuple(_backlog(receiver, messages) for receiver, messages in found.items()),
        str(state.get("problem") or ""),
        float(str(state.get("since") or 0.0)),
    )


def _backlog(receiver: str, messages: Sequence[QueuedMessage]) -> ReceiverBacklog:
    waiting = [one for one in messages if one.state is DeliveryState.WAITING]
    since = [one.failing_since for one in (waiting or messages) if one.failing_since is not None]
    problem = next((one.problem for one in reversed(messages) if one.problem), "")
    return ReceiverBacklog(receiver, len(waiting), len(messages) - len(waiting), min(since, default=None), problem)
