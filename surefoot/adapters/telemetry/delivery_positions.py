"""Store the last journal entry delivered to each receiver of lineage events or spans, and its state."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from surefoot.adapters.journal.database import build_database_engine, create_tables, open_transaction
from surefoot.core.journal.chain import Entry
from surefoot.core.notify.delivery_schedule import compute_retry_delay

TELEMETRY_TABLES: Final = sa.MetaData()
_POSITIONS: Final = sa.Table(
    "telemetry_positions",
    TELEMETRY_TABLES,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
_STATES: Final = sa.Table(
    "telemetry_states",
    TELEMETRY_TABLES,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("failing_since", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("refusal", sa.Text, nullable=False),
)
_FLOW_RUNS: Final = sa.Table(
    "telemetry_flow_runs",
    TELEMETRY_TABLES,
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """Whether a receiver takes what it is sent.

    Attributes:
        problem: Why the latest attempt failed; empty where it did not.
        failing_since: Since when attempts fail [Unix seconds of the host]; None where they do not.
        attempts: Attempts that failed one after the other [count].
        due: When it is tried next [Unix seconds of the host].
        refused: What it has refused for good, so that it was left out [count].
        refusal: Why it refused the latest of them; empty without one.
    """

    problem: str = ""
    failing_since: float | None = None
    attempts: int = 0
    due: float = 0.0
    refused: int = 0
    refusal: str = ""


class DeliveryPositions:
    """Up to which entry each journal was delivered to each receiver, and how the receiver answers."""

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

    def positions(self, receiver: str) -> dict[str, int]:
        """Sequence of the last entry of each journal that was delivered to a receiver."""
        query = sa.select(_POSITIONS.c.model, _POSITIONS.c.seq).where(_POSITIONS.c.receiver == receiver)
        with self._transaction(writing=False) as connection:
            return {row.model: int(row.seq) for row in connection.execute(query)}

    def advance(self, receiver: str, positions: Mapping[str, int]) -> None:
        """Remember what was delivered; a position never goes back.

        Args:
            receiver: The receiver.
            positions: Sequence of the last delivered entry by model.
        """
        with self._transaction(writing=True) as connection:
            for model, seq in positions.items():
                mine = sa.and_(_POSITIONS.c.receiver == receiver, _POSITIONS.c.model == model)
                known = connection.execute(sa.select(_POSITIONS.c.seq).where(mine)).scalar()
                if known is None:
                    connection.execute(sa.insert(_POSITIONS).values(receiver=receiver, model=model, seq=seq))
                elif known < seq:
                    connection.execute(sa.update(_POSITIONS).where(mine).values(seq=seq))

    def state(self, receiver: str) -> ReceiverState:
        """How a receiver answers."""
        with self._transaction(writing=False) as connection:
            row = connection.execute(sa.select(_STATES).where(_STATES.c.receiver == receiver)).mappings().first()
        return ReceiverState() if row is None else ReceiverState(*(row[n] for n in ReceiverState.__dataclass_fields__))

    def record_failure(self, receiver: str, problem: str, now: float) -> None:
        """Remember that a receiver took nothing, and try it later: after 15 s at first, 15 min at most.

        Args:
            receiver: The receiver.
            problem: Why.
            now: Time of the host [Unix seconds].
        """
        before = self.state(receiver)
        attempts = before.attempts + 1
        since = now if before.failing_since is None else before.failing_since
        due = now + compute_retry_delay(attempts)
        self._save(receiver, ReceiverState(problem, since, attempts, due, before.refused, before.refusal))

    def record_delivery(self, receiver: str, refusals: list[str]) -> None:
        """Remember that a receiver answers, and what it has refused for good.

        Args:
            receiver: The receiver.
            refusals: Why each item was refused.
        """
        before = self.state(receiver)
        if not refusals and not before.attempts:
            return
        latest = refusals[-1] if refusals else before.refusal
        self._save(receiver, ReceiverState(refused=before.refused + len(refusals), refusal=latest))

    def remember_flow_run(self, actor: str, name: str, now: float) -> None:
        """Keep the id of a flow run, before it writes journal entries.

        Args:
            actor: The actor of these entries; later runs may have the same one.
            name: Id of the flow run.
            now: Time of the host [Unix seconds].
        """
        column = _FLOW_RUNS.c
        known = sa.select(column.id).where(column.actor == actor, column.id == name)
        with self._transaction(writing=True) as connection:
            if connection.execute(known).first() is None:
                connection.execute(sa.insert(_FLOW_RUNS).values(actor=actor, id=name, at=now))

    def flow_run(self, entry: Entry) -> str:
        """Id of the flow run that wrote an entry: the last one of its actor until then; empty where none is known."""
        column = _FLOW_RUNS.c
        mine = sa.select(column.id).where(column.actor == entry.actor, column.at <= entry.wall)
        with self._transaction(writing=False) as connection:
            return str(connection.execute(mine.order_by(column.at.desc()).limit(1)).scalar() or "")

    def _save(self, receiver: str, state: ReceiverState) -> None:
        values = {name: getattr(state, name) for name in ReceiverState.__dataclass_fields__}
        with self._transaction(writing=True) as connection:
            changed = sa.update(_STATES).where(_STATES.c.receiver == receiver).values(**values)
            if not connection.execute(changed).rowcount:
                connection.execute(sa.insert(_STATES).values(receiver=receiver, **values))

    def _transaction(self, *, writing: bool) -> AbstractContextManager[sa.Connection]:
        if not self._ready:
            create_tables(self._engine, TELEMETRY_TABLES)
            self._ready = True
        return open_transaction(self._engine, writing=writing)
