"""Journals that an earlier release wrote are read, verified and shown by this one.

`tests/golden/journal-0.1.0-demo.jsonl` is the journal of a whole demo; `...-scripted.jsonl` holds what the demo does
not: a baseline that is unhealthy, a policy with an old key, a refused effect, and a drift that was found and resolved.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from surefoot.adapters.journal.sql_journal import ENTRIES_TABLE, SqlJournal, parse_canonical_json
from surefoot.adapters.mlflow.runs.run_views import make_run_views
from surefoot.core.domain import Outcome, Stage
from surefoot.core.journal.chain import Entry, canonical_bytes, check_chain
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import GateJudged, RolloutOpened, decode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.reverify import reverify
from surefoot.core.policy.parse import parse_policy
from surefoot.core.served_versions.version_status import version_statuses

GOLDEN = Path(__file__).parents[1] / "golden"


def entries_of(name: str) -> list[Entry]:
    """The entries of a golden journal."""
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    return [Entry(**parse_canonical_json(line)) for line in lines]


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.jsonl")))
def test_a_journal_of_an_earlier_release_is_read(name: str) -> None:
    """The chain holds, events and policies are read, every verdict follows from its counters, and views show it."""
    entries = entries_of(name)
    assert check_chain(entries) == len(entries)
    judged = list(reverify(entries))
    assert [found for found in judged if found.problem] == []
    assert sum(not found.skipped for found in judged) == sum(entry.kind == "GateJudged" for entry in entries)
    ledger = fold_entries(entries[0].model, entries)
    assert ledger.champion is not None
    assert (ledger.open, ledger.head, ledger.drifts) == ("", len(entries), {})
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        assert describe_event(event)
        if isinstance(event, RolloutOpened):
            assert not event.policy or parse_policy(event.policy)
    views = make_run_views(entries)
    assert sum(view.parent is None for view in views) == sum(entry.kind == "RolloutOpened" for entry in entries)
    assert version_statuses(entries)


def test_names_of_an_earlier_release_are_understood() -> None:
    """BOTH_SICK, `on.both_sick`, `sink` and figures without a kind mean what they meant."""
    entries = entries_of("journal-0.1.0-scripted.jsonl")
    text = json.dumps([entry.data for entry in entries])
    assert all(f'"{word}"' in text for word in ("BOTH_SICK", "both_sick", "sink"))
    events = [decode_event(entry.kind, entry.data) for entry in entries]
    outcomes = {event.verdict.outcome for event in events if isinstance(event, GateJudged)}
    assert outcomes == {Outcome.PASS, Outcome.BASELINE_UNHEALTHY}
    rollouts = fold_entries("m", entries).rollouts.values()
    assert [one.stage for one in rollouts] == [Stage.ABORTED, Stage.PROMOTED, Stage.FAST_ROLLED_BACK]
    opened = next(event for event in events if isinstance(event, RolloutOpened))
    assert parse_policy(opened.policy).on[Outcome.BASELINE_UNHEALTHY].hold == 600.0


def test_an_earlier_journal_is_continued(tmp_path: Path) -> None:
    """What this release appends follows the hash of what the earlier one wrote, and the journal stays verifiable."""
    entries = entries_of("journal-0.1.0-demo.jsonl")

    class Clock:
        def wall(self) -> float:
            return entries[-1].wall + 1.0

    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}", Clock())
    assert journal.models() == ()
    rows = [{**asdict(entry), "data": canonical_bytes(entry.data).decode()} for entry in entries]
    with journal._engine.begin() as connection:
        connection.execute(sa.insert(ENTRIES_TABLE), rows)
    last = journal.append("flights-late", len(entries), entries[-1].at + 1.0, "test", "Later", {})
    assert last.previous == entries[-1].hash
    assert check_chain(journal.read("flights-late")) == len(entries) + 1
    journal.close()
