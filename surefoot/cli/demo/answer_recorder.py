"""Record the answers that the demo's callers got in the prediction log."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.core.canonical_text import canonical_text
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.settings import Settings
from surefoot.wiring.answered_requests import AnsweredRequestLog, AnsweredRow, ReportedLabel

if TYPE_CHECKING:
    from surefoot.core.journal.chain import Entry
    from surefoot.demo.traffic_replay import CallerRecord, KnownLabel

_LOOK_S = 0.1
"""Seconds between two looks at the journal, which says to which rollout an answer belongs."""


class DemoAnswerRecorder:
    """Writes the prediction log where the engine does not; the journal says to which rollout an answer belongs."""

    def __init__(self, config: Settings, model: str) -> None:
        """Read the policy; the log is opened at the first record.

        Raises:
            SurefootError: There is no policy, or it is wrong.
        """
        self._config, self._model = config, model
        self._policy = read_model_policy(config.configs, model)[1]
        self._entries: tuple[Entry, ...] = ()
        self._ledger = Ledger(model)
        self._log: AnsweredRequestLog | None = None
        self._looked = 0.0

    def write(self, records: Sequence["CallerRecord"], labels: Sequence["KnownLabel"]) -> None:
        """Append records and labels.

        Raises:
            SurefootError: The journal cannot be read.
            OSError: The disk refuses.
        """
        log = self._log_in_force()
        log.append(map(self._row, records), [ReportedLabel((one.request, 0), one.at, one.label) for one in labels])

    def close(self) -> None:
        """Close the files."""
        if self._log is not None:
            self._log.close()

    def _log_in_force(self) -> AnsweredRequestLog:
        """The log that knows the split in force."""
        if self._log is not None and time.monotonic() < self._looked + _LOOK_S:
            return self._log
        self._looked, before = time.monotonic(), self._ledger.split
        with wiring.open_journal(self._config) as journal:
            fresh = journal.read(self._model, after=self._ledger.head)
        self._entries += fresh
        self._ledger = fold_entries(self._model, fresh, self._ledger)
        if self._log is None or self._ledger.split != before:
            self.close()
            kept, unit = self._policy.log_policy, self._policy.unit
            self._log = AnsweredRequestLog(self._config, self._model, kept, unit, self._entries)
        return self._log

    def _row(self, record: "CallerRecord") -> AnsweredRow:
        unit = record.features.get(self._policy.unit) if self._policy.unit else None
        return AnsweredRow(
            key=(record.request, 0),
            at=record.at,
            number=record.version,
            unit=None if unit is None else canonical_text(unit),
            answer=record.answer,
            error=record.error,
            features=record.features,
            measured={},
        )
