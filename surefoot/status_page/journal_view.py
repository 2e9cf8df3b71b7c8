"""Keep each model's journalled state in memory, and update it from new entries."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import GateJudged, decode_event
from surefoot.core.journal.ledger import Ledger, Rollout, fold_entries
from surefoot.core.served_versions.version_status import VersionStatus, version_statuses

_SAYS_NOTHING_OF_VERSIONS = frozenset({"GateJudged", "EffectIntended", "EffectDone", "ServiceCounted"})
"""Kinds of entries, most of a journal, that change the outcome of no version."""
MAX_RECENT_ENTRIES = 200
"""Latest entries of a model that are kept for its page, whatever they belong to [count]."""


class _Journal(Protocol):
    """What a view needs of the journal."""

    def heads(self) -> Mapping[str, tuple[int, str]]:
        """Sequence and hash of the last entry, by model."""
        ...

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model with a sequence above `after`, in order."""
        ...


@dataclass(slots=True)
class ModelRecord:
    """What the journal says of one model, up to its head.

    Attributes:
        ledger: The state that its entries lead to.
        by_rollout: The entries of each rollout, in order, by its id.
        recent: The latest entries.
        unjudged: Every entry that is no verdict, in order: verdicts are most of a journal.
        verdicts: Verdicts by gate and outcome [count].
        error: Why the journal could not be read further; empty where it could.
    """

    ledger: Ledger
    by_rollout: dict[str, list[Entry]] = field(default_factory=dict)
    recent: list[Entry] = field(default_factory=list)
    unjudged: list[Entry] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    error: str = ""
    _about_versions: list[Entry] = field(default_factory=list)
    _statuses: tuple[int, dict[str, VersionStatus]] = (-1, {})

    def statuses(self) -> dict[str, VersionStatus]:
        """Where each version stands, by number."""
        if self._statuses[0] != self.ledger.head:
            self._statuses = self.ledger.head, version_statuses(self._about_versions)
        return self._statuses[1]

    def ended_rollouts(self) -> Iterator[Rollout]:
        """Rollouts that are over, in the order in which they were opened."""
        return (one for one in self.ledger.rollouts.values() if one.stage.is_terminal)

    def add(self, entries: Sequence[Entry]) -> None:
        """Take entries that follow the head.

        Raises:
            JournalTampered: An entry cannot be decoded.
        """
        for entry in entries:
            before = self.ledger.open
            self.ledger = fold_entries(self.ledger.model, (entry,), self.ledger)
            mine = str(entry.data.get("rollout") or "") or before
            if mine in self.ledger.rollouts:
                self.by_rollout.setdefault(mine, []).append(entry)
            if entry.kind == GateJudged.__name__:
                event = decode_event(entry.kind, entry.data)
                if isinstance(event, GateJudged):
                    self.verdicts[event.verdict.gate, str(event.verdict.outcome)] += 1
            else:
                self.unjudged.append(entry)
            if entry.kind not in _SAYS_NOTHING_OF_VERSIONS:
                self._about_versions.append(entry)
        self.recent = [*self.recent, *entries][-MAX_RECENT_ENTRIES:]


class JournalView:
    """The journals of all models, read again only beyond the head that is known; for several threads."""

    def __init__(self, journal: _Journal) -> None:
        """Read nothing yet.

        Args:
            journal: The open journal; it stays open as long as the view is used.
        """
        self._journal = journal
        self._lock = threading.Lock()
        self._records: dict[str, ModelRecord] = {}
        self.read_at = 0.0

    def refresh(self, now: float, page_size: int = 5000, until: Callable[[], bool] = lambda: False) -> dict[str, int]:
        """Read what is new.

        Args:
            now: Time of the host [Unix seconds].
            page_size: Entries that are folded before another thread may look again [count].
            until: Ends the reading early when true.

        Returns:
            The head of each model.

        Raises:
            SurefootError: The journal cannot be read; what was read before stays.
        """
        heads = self._journal.heads()
        for model, (head, _) in heads.items():
            record = self._records.get(model) or ModelRecord(Ledger(model))
            self._records.setdefault(model, record)
            if record.ledger.head < head:
                entries = self._journal.read(model, after=record.ledger.head)
                for start in range(0, len(entries), page_size):
                    if until():
                        return self.heads()
                    with self._lock:
                        record.add(entries[start : start + page_size])
        self.read_at = now
        return self.heads()

    def heads(self) -> dict[str, int]:
        """Sequence of the last entry that is folded, by model."""
        return {model: record.ledger.head for model, record in tuple(self._records.items())}

    def record(self, model: str) -> ModelRecord | None:
        """What is known of a model; None where the journal holds nothing of it."""
        return self._records.get(model)

    @property
    def models(self) -> list[str]:
        """Models of the journal, by name."""
        return sorted(self._records)

    @property
    def lock(self) -> threading.Lock:
        """Held while entries are folded; hold it to read a record as one."""
        return self._lock
