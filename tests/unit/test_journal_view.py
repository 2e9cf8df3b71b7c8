"""The view of the journal that pages read is what folding the whole journal gives, whatever it was read in."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.journal.sql_journal import parse_canonical_json
from surefoot.core.errors import JournalUnavailable
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import EffectIntended, decode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.served_versions.promotion_card import promotion_cards
from surefoot.core.served_versions.service_summary import service_summaries
from surefoot.core.served_versions.version_status import version_statuses
from surefoot.status_page.journal_view import MAX_RECENT_ENTRIES, JournalView
from surefoot.status_page.views.rollout_view import (
    group_evaluations_by_gate,
    list_split_changes,
    timeline,
    view_rollout,
)
from surefoot.status_page.views.version_view import known_versions, view_version

GOLDEN = Path(__file__).parents[1] / "golden" / "journal-0.1.0-demo.jsonl"
ENTRIES = tuple(Entry(**parse_canonical_json(line)) for line in GOLDEN.read_text(encoding="utf-8").splitlines())
MODEL = ENTRIES[0].model


class Journal:
    """A journal of which so many entries are written."""

    def __init__(self) -> None:
        self.written = 0
        self.down = False
        self.read_entries = 0

    def heads(self) -> dict[str, tuple[int, str]]:
        """The head."""
        if self.down:
            raise JournalUnavailable("down")
        return {MODEL: (self.written, "")} if self.written else {}

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """What is new."""
        assert model == MODEL
        found = ENTRIES[after : self.written]
        self.read_entries += len(found)
        return found


@settings(max_examples=30)
@given(st.lists(st.integers(1, len(ENTRIES)), min_size=1, max_size=6), st.integers(1, 50))
def test_a_view_that_grew_is_what_one_reading_gives(cuts: list[int], page_size: int) -> None:
    """However the journal grew, ledger and outcomes equal those of the whole, and each entry was read once."""
    journal = Journal()
    view = JournalView(journal)
    for cut in sorted(cuts):
        journal.written = cut
        assert view.refresh(1.0, page_size) == {MODEL: cut}
    record = view.record(MODEL)
    assert record is not None
    read = ENTRIES[: max(cuts)]
    assert record.ledger == fold_entries(MODEL, read)
    assert record.statuses() == version_statuses(read)
    assert record.recent == list(read[-MAX_RECENT_ENTRIES:])
    assert journal.read_entries == len(read)
    held = {entry.seq for entries in record.by_rollout.values() for entry in entries}
    assert {entry.seq for entry in read if entry.data.get("rollout")} <= held


def test_a_version_is_told_from_its_own_entries() -> None:
    """What a version's page reads of a view, without the verdicts of others, is what the whole journal says of it."""
    journal = Journal()
    journal.written = len(ENTRIES)
    view = JournalView(journal)
    view.refresh(1.0)
    record = view.record(MODEL)
    assert record is not None
    ledger, now = record.ledger, ENTRIES[-1].at + 60.0
    versions = known_versions(ledger, record.statuses())
    served = {one.version.number: one for one in service_summaries(ledger, ENTRIES, now)}
    assert served.keys() <= versions.keys()
    for number, artifacts in versions.items():
        seen = view_version(ledger, number, artifacts, record.unjudged, record.by_rollout, now)
        facts = dict(seen.facts)
        if number in served:
            said = ", ".join(f"{outcome} {count:,}" for outcome, count in served[number].verdicts.items())
            assert facts.get("verdicts", "") == said
            assert (seen.standing, seen.reason) == (served[number].standing.value, served[number].reason)
        attempts = {one.opened.rollout for one in ledger.rollouts.values() if one.opened.candidate.number == number}
        assert attempts <= {one.id for one in seen.attempts}
        cards = [one for one in promotion_cards(ENTRIES) if one.opened.candidate.number == number]
        assert [one.card for one in seen.cards] == cards[::-1]


def test_a_journal_that_is_down_leaves_what_was_read() -> None:
    """What was read before stays, with its time."""
    journal = Journal()
    view = JournalView(journal)
    journal.written = 20
    view.refresh(7.0)
    journal.down = True
    with pytest.raises(JournalUnavailable):
        view.refresh(9.0)
    assert (view.heads(), view.read_at) == ({MODEL: 20}, 7.0)


def test_a_rollout_is_told_by_its_entries() -> None:
    """Each rollout of the demo has a view, looks, splits, and a timeline that names what each effect was."""
    journal = Journal()
    journal.written = len(ENTRIES)
    view = JournalView(journal)
    view.refresh(1.0)
    record = view.record(MODEL)
    assert record is not None
    for name, rollout in record.ledger.rollouts.items():
        entries = record.by_rollout[name]
        shown = view_rollout(record.ledger, rollout, record.ledger.now)
        assert shown.outcome
        assert shown.reason
        assert shown.waits == ()
        few, all_ = timeline(entries, everything=False), timeline(entries, everything=True)
        intents = sum(isinstance(decode_event(entry.kind, entry.data), EffectIntended) for entry in entries)
        assert len(few) + intents <= len(all_) == len(entries)
        assert [row.seq for row in all_] == sorted((row.seq for row in all_), reverse=True)
        assert all(not row.text.startswith("done in") for row in few)
        assert sum(map(len, group_evaluations_by_gate(entries).values())) <= len(entries)
        assert all(0.0 <= share <= 100.0 for _, share in list_split_changes(entries))


def test_an_open_rollout_says_what_it_waits_for() -> None:
    """At each point of the demo's journal an open rollout has a place, and while it is judged, the next look."""
    waited = 0
    for count in range(1, len(ENTRIES)):
        ledger = fold_entries(MODEL, ENTRIES[:count])
        if ledger.rollout is None:
            continue
        shown = view_rollout(ledger, ledger.rollout, ledger.now)
        assert shown.is_open
        assert shown.where
        waited += any("the next look is due" in line for line in shown.waits)
    assert waited
