"""Queue notification messages in the journal's database until they are delivered or expire."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from surefoot.adapters.journal.database import build_database_engine, create_tables, open_transaction
from surefoot.core.notify.delivery_schedule import DELIVERY_TIME_LIMIT_S, compute_retry_delay
from surefoot.core.notify.message import Message, Severity, Topic


class DeliveryState(StrEnum):
    """Delivery state of a message to one receiver."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    DISMISSED = "dismissed"


OUTBOX_TABLES: Final = sa.MetaData()
_OUTBOX: Final = sa.Table(
    "outbox",
    OUTBOX_TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("incident", sa.Text, nullable=False),
    sa.Column("whom", sa.Text, nullable=False),
    sa.Column("queued", sa.Double, nullable=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("failing_since", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("journalled", sa.Boolean, nullable=False),
)
_POSITIONS: Final = sa.Table(
    "outbox_positions",
    OUTBOX_TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
_EVERY_MODEL = ""
"""Row of the positions that says that the models that the journal held at the beginning are known."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message to one receiver, and its delivery state.

    Attributes:
        id: The same whenever it is sent.
        model: Registered model.
        seq: Sequence of the journal entry that it tells of.
        topic: What it is about.
        receiver: Name of the receiver.
        severity: How soon a person has to read it.
        title: One line.
        body: The text.
        incident: Incident that it belongs to; empty without one.
        whom: Audience or role; empty where routes decided.
        queued: When it was written here [Unix seconds of the host].
        due: When it is tried next [Unix seconds of the host].
        expires: When it is given up [Unix seconds of the host].
        attempts: Attempts that were begun [count].
        state: What became of it.
        problem: Why the last attempt failed; empty where none has.
        failing_since: When an attempt failed first [Unix seconds of the host]; None where none has.
        ended: When it was delivered, given up or dismissed [Unix seconds of the host]; None while it waits.
    """

    id: str
    model: str
    seq: int
    topic: str
    receiver: str
    severity: Severity
    title: str
    body: str
    incident: str
    whom: str
    queued: float
    due: float
    expires: float
    attempts: int
    state: DeliveryState
    problem: str
    failing_since: float | None
    ended: float | None


class Outbox:
    """Queue of all messages of one installation, in the journal's database."""

    def __init__(self, url: str) -> None:
        """Open nothing yet; the first use creates the tables.

        Args:
            url: The database of the journal.
        """
        self._engine = build_database_engine(url)
        self._ready = False

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def positions(self, heads: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """How far each journal was read: its first entry that counts less one, and the last that was read.

        What was journalled before the outbox was used for the first time is told to no receiver.

        Args:
            heads: Sequence of the last entry of each journal.
        """
        rows = [{"model": _EVERY_MODEL, "first": 0, "seq": 0}]
        rows += [{"model": model, "first": seq, "seq": seq} for model, seq in heads.items()]
        query = sa.select(_POSITIONS)
        with self._transaction(writing=False) as connection:
            found = {row.model: (row.first, row.seq) for row in connection.execute(query)}
        if _EVERY_MODEL in found:
            return {model: found.get(model, (0, 0)) for model in heads}
        with self._transaction(writing=True) as connection:
            connection.execute(self._insert(_POSITIONS).values(rows).on_conflict_do_nothing())
            found = {row.model: (row.first, row.seq) for row in connection.execute(query)}
        return {model: found.get(model, (0, 0)) for model in heads}

    def queue(
        self, model: str, upto: int, messages: Sequence[tuple[str, str, Message]], now: float, expires: float
    ) -> int:
        """Write messages and how far the journal was read, in one transaction; one that is there already stays.

        Args:
            model: Registered model.
            upto: Sequence of the last entry that was read.
            messages: Id, receiver and message.
            now: Time of the host [Unix seconds].
            expires: When they are given up [Unix seconds of the host].

        Returns:
            How many were new.
        """
        rows = [
            {
                "id": name,
                "model": model,
                "seq": one.seq,
                "topic": one.topic.value,
                "key": one.key,
                "receiver": receiver,
                "severity": one.severity.value,
                "title": one.title,
                "body": one.body,
                "incident": one.incident,
                "whom": one.whom,
                "queued": now,
                "due": now,
                "expires": expires,
                "attempts": 0,
                "state": DeliveryState.WAITING.value,
                "problem": "",
                "journalled": False,
            }
            for name, receiver, one in messages
        ]
        position = self._insert(_POSITIONS).values(model=model, first=0, seq=upto)
        later = position.on_conflict_do_update(
            index_elements=["model"], set_={"seq": upto}, where=_POSITIONS.c.seq < upto
        )
        new = 0
        with self._transaction(writing=True) as connection:
            for row in rows:
                added = self._insert(_OUTBOX).values(**row).on_conflict_do_nothing().returning(_OUTBOX.c.id)
                new += len(connection.execute(added).all())
            connection.execute(later)
        return new

    def closed_incidents(self, receiver: str) -> frozenset[str]:
        """Incidents of which a receiver has been told that they are closed."""
        told = sa.select(_OUTBOX.c.incident).where(
            _OUTBOX.c.receiver == receiver,
            _OUTBOX.c.topic == Topic.CLOSED.value,
            _OUTBOX.c.state == DeliveryState.DELIVERED.value,
        )
        with self._transaction(writing=False) as connection:
            return frozenset(connection.execute(told).scalars())

    def claim(self, receiver: str, now: float, most: int, *, due_only: bool = True) -> list[QueuedMessage]:
        """Take messages that are due, so that no other sender takes them meanwhile; a sender that dies loses the claim.

        Args:
            receiver: Name of the receiver.
            now: Time of the host [Unix seconds].
            most: Most messages [count].
            due_only: Leave those that wait for their next attempt.
        """
        column = _OUTBOX.c
        waiting = sa.select(_OUTBOX).where(column.receiver == receiver, column.state == DeliveryState.WAITING.value)
        if due_only:
            waiting = waiting.where(column.due <= now)
        taken = []
        with self._transaction(writing=True) as connection:
            for row in connection.execute(waiting.order_by(column.queued, column.seq).limit(most)).mappings().all():
                mine = sa.update(_OUTBOX).where(column.id == row["id"], column.due == row["due"])
                mine = mine.where(column.state == DeliveryState.WAITING.value)
                claimed = connection.execute(
                    mine.values(due=now + DELIVERY_TIME_LIMIT_S, attempts=column.attempts + 1)
                ).rowcount
                if claimed:
                    taken.append(_message({**row, "attempts": row["attempts"] + 1}))
        return taken

    def settle(self, results: Mapping[str, str], now: float) -> None:
        """Record what became of messages that were sent.

        Args:
            results: Why each was not delivered, by id; empty for one that was.
            now: Time of the host [Unix seconds].
        """
        column = _OUTBOX.c
        with self._transaction(writing=True) as connection:
            for name, problem in results.items():
                row = connection.execute(sa.select(_OUTBOX).where(column.id == name)).mappings().first()
                if row is None or (problem and row["state"] != DeliveryState.WAITING.value):
                    continue
                since = row["failing_since"]
                changed: dict[str, object] = {
                    "problem": problem,
                    "due": now + compute_retry_delay(max(row["attempts"], 1)),
                    "failing_since": now if since is None else since,
                }
                if not problem:
                    changed = {"problem": "", "state": DeliveryState.DELIVERED.value, "ended": now}
                connection.execute(sa.update(_OUTBOX).where(column.id == name).values(**changed))

    def expire(self, now: float) -> int:
        """Give up what is too old to be told; how many that is."""
        column = _OUTBOX.c
        old = sa.and_(column.state == DeliveryState.WAITING.value, column.expires <= now, column.due <= now)
        with self._transaction(writing=False) as connection:
            if not connection.execute(sa.select(sa.func.count()).where(old)).scalar():
                return 0
        ended = sa.update(_OUTBOX).where(old).values(state=DeliveryState.EXPIRED.value, ended=now)
        with self._transaction(writing=True) as connection:
            return connection.execute(ended).rowcount

    def reopen(self, receiver: str, now: float, expires: float) -> int:
        """Let everything that was not delivered to a receiver be tried now, what was given up as well."""
        states = (DeliveryState.WAITING.value, DeliveryState.EXPIRED.value)
        mine = sa.update(_OUTBOX).where(_OUTBOX.c.receiver == receiver, _OUTBOX.c.state.in_(states))
        changed = mine.values(state=DeliveryState.WAITING.value, due=now, expires=expires, ended=None)
        with self._transaction(writing=True) as connection:
            return connection.execute(changed).rowcount

    def dismiss(self, receiver: str, now: float) -> int:
        """End the report of what was not delivered to a receiver; it is sent no more."""
        states = (DeliveryState.WAITING.value, DeliveryState.EXPIRED.value)
        mine = sa.update(_OUTBOX).where(_OUTBOX.c.receiver == receiver, _OUTBOX.c.state.in_(states))
        with self._transaction(writing=True) as connection:
            return connection.execute(mine.values(state=DeliveryState.DISMISSED.value, ended=now)).rowcount

    def due_receivers(self, now: float) -> set[str]:
        """Receivers for which a message is due."""
        column = _OUTBOX.c
        due = sa.and_(column.state == DeliveryState.WAITING.value, column.due <= now)
        with self._transaction(writing=False) as connection:
            return set(connection.execute(sa.select(column.receiver).where(due).distinct()).scalars())

    def undelivered(self) -> list[QueuedMessage]:
        """What waits, and what was given up, oldest first."""
        return self._select(_OUTBOX.c.state.in_((DeliveryState.WAITING.value, DeliveryState.EXPIRED.value)))

    def latest(self, most: int) -> list[QueuedMessage]:
        """The latest messages, oldest first."""
        return self._select(sa.true(), most)

    def unjournalled(self) -> list[QueuedMessage]:
        """What was delivered about an incident, and is not in the journal yet."""
        column = _OUTBOX.c
        delivered = column.state == DeliveryState.DELIVERED.value
        return self._select(sa.and_(delivered, column.incident != "", sa.not_(column.journalled)))

    def mark_journalled(self, names: Sequence[str]) -> None:
        """Remember that the journal says that these messages were delivered."""
        if names:
            with self._transaction(writing=True) as connection:
                connection.execute(sa.update(_OUTBOX).where(_OUTBOX.c.id.in_(names)).values(journalled=True))

    def _select(self, which: sa.ColumnElement[bool], most: int | None = None) -> list[QueuedMessage]:
        query = sa.select(_OUTBOX).where(which).order_by(_OUTBOX.c.queued.desc(), _OUTBOX.c.seq.desc()).limit(most)
        with self._transaction(writing=False) as connection:
            return [_message(row) for row in reversed(connection.execute(query).mappings().all())]

    def _insert(self, table: sa.Table) -> Any:
        """An insert that can leave a row alone that is there already."""
        kind: Callable[[sa.Table], Any]
        if self._engine.dialect.name == "postgresql":  # each command would load both dialects at its start
            from sqlalchemy.dialects.postgresql import insert as kind  # noqa: PLC0415 - see above
        else:
            from sqlalchemy.dialects.sqlite import insert as kind  # noqa: PLC0415 - see above
        return kind(table)

    def _transaction(self, *, writing: bool) -> AbstractContextManager[sa.Connection]:
        if not self._ready:
            create_tables(self._engine, OUTBOX_TABLES)
            self._ready = True
        return open_transaction(self._engine, writing=writing)


def _message(row: Mapping[str, Any] | sa.RowMapping) -> QueuedMessage:
    """A row as what it means."""
    plain = {name: row[name] for name in QueuedMessage.__dataclass_fields__}
    return QueuedMessage(**{**plain, "state": DeliveryState(row["state"]), "severity": Severity(row["severity"])})
