"""Write a long hash-chained journal of a model with many rollouts, faster than appending entry by entry."""

import random
from collections.abc import Iterator

import sqlalchemy as sa

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import ENTRIES_TABLE, SqlJournal
from surefoot.core.domain import FigureKind, Outcome, Role, RolloutKind, Stage, Verdict, VerdictFigure, Version
from surefoot.core.journal.chain import GENESIS_HASH, canonical_bytes, seal_entry
from surefoot.core.journal.events import (
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    EndDecided,
    Event,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
    encode_event,
)

_POLICY = {
    "model": "m",
    "traffic": {"requests_per_minute": 600},
    "data": {"suite": "m"},
    "gates": {"errors": {"metric": "error_rate", "margin": "1pp"}},
    "steps": [{"weight": 20, "hold": {"for": "10m", "gates": ["errors"]}}],
    "bake": {"for": "1h", "gates": ["errors"]},
}
_START = 1_700_000_000.0


def _version(number: int) -> Version:
    return Version(str(number), f"sha256:{number:064x}")


def _events(rollouts: int, looks: int) -> Iterator[Event]:
    """A champion, and rollouts that are all taken back but for the last one, which is open."""
    champion, draw = _version(1), random.Random(7)  # noqa: S311 - figures of a bench
    yield ChampionAdopted(champion)
    seq = 1
    for count in range(rollouts):
        name, candidate = f"r{count:05d}", _version(count + 2)
        opened = RolloutOpened(name, RolloutKind.PROMOTION, candidate, champion, _POLICY, "", "", "salt", 1, "alias")
        steps: list[Event] = [opened, StageEntered(name, Stage.RAMPING, 0, "every gate passed")]
        steps.append(EffectIntended(name, SetSplit(champion, candidate, 20.0)))
        yield from steps
        seq += len(steps)
        yield EffectDone(name, seq, reconciled=False, took_ms=12.0)
        seq += 1
        for look in range(1, looks + 1):
            rate = 0.01 + 0.002 * draw.random()
            figures = (
                VerdictFigure(FigureKind.CANDIDATE_RATE, rate, "share"),
                VerdictFigure(FigureKind.CHAMPION_RATE, 0.01, "share"),
            )
            reason = f"{rate:.2%} of the candidate's requests fail, against 1.00% of the champion's"
            verdict = Verdict(
                "errors",
                "error_rate",
                Outcome.INCONCLUSIVE,
                Role.GUARDRAIL,
                reason,
                100 * look,
                rate - 0.01,
                rate - 0.03,
                rate + 0.01,
                0.01,
                "share",
                figures=figures,
            )
            yield GateJudged(name, Stage.RAMPING, 0, look, verdict)
            seq += 1
        if count == rollouts - 1:
            return
        yield EndDecided(name, Stage.ROLLED_BACK, "errors", "errors is FAIL")
        yield EffectIntended(name, SetSplit(champion, None, 0.0))
        seq += 2
        yield EffectDone(name, seq, reconciled=False, took_ms=9.0)
        yield RolloutEnded(name, Stage.ROLLED_BACK, "errors is FAIL")
        seq += 2


def write_long_journal(url: str, model: str, rollouts: int, entries: int) -> int:
    """Write it; how many entries there are then.

    Args:
        url: The journal's database.
        model: Registered model.
        rollouts: Rollouts [count].
        entries: Entries, about [count].
    """
    journal = SqlJournal(url, SystemClock())
    journal.heads()  # creates the tables
    journal.close()
    engine = sa.create_engine(url)
    previous, rows, at, seq = GENESIS_HASH, [], _START, 0
    for seq, event in enumerate(_events(rollouts, entries // rollouts - 8), 1):
        kind, data = encode_event(event)
        at += 60.0
        entry = seal_entry(model, seq, at, at, "flow:promote/bench", kind, data, previous)
        previous = entry.hash
        row = {
            name: getattr(entry, name) for name in ("model", "seq", "at", "wall", "actor", "kind", "previous", "hash")
        }
        rows.append({**row, "data": canonical_bytes(entry.data).decode()})
    with engine.begin() as connection:
        for start in range(0, len(rows), 10_000):
            connection.execute(sa.insert(ENTRIES_TABLE), rows[start : start + 10_000])
    engine.dispose()
    return seq
