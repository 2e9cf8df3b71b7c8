"""Run a tabletop exercise, in which a person decides on the facts of a drill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectDone, EffectIntended, decode_event
from surefoot.core.journal.ledger import Ledger

_ROLL_BACK = "rollback"
"""What a person types to take the version back; everything else is recorded, and time goes on."""
_WAIT = "wait"
"""What counts where a person types nothing."""
_LATEST = 4
"""Entries of the journal that are shown at each step, the latest [count]."""
_LONGEST_ANSWER = 200
"""Most of an answer that is recorded [characters]."""


@dataclass
class Tabletop:
    """A person at a terminal who sees what `surefoot status` would say, and types decisions.

    Attributes:
        show: Shows one line.
        read: Reads what the person types; empty at the end of the input.
        clock: A clock that never steps [seconds].
        notes: What was decided, and after which time, each as a sentence.
        step: Questions that were asked [count].
        decided_s: Times that the person took [seconds].
    """

    show: Callable[[str], None]
    read: Callable[[], str]
    clock: Callable[[], float]
    notes: list[str] = field(default_factory=list)
    step: int = 0
    decided_s: list[float] = field(default_factory=list)
    _shown: int = 0

    def decide(self, ledger: Ledger, entries: Sequence[Entry], callers: str) -> bool:
        """Show how it stands and ask what to do; whether the person takes the version back.

        Args:
            ledger: The state of the model.
            entries: Its journal.
            callers: What callers see, as a sentence.
        """
        self.step += 1
        where = self._headline(ledger)
        self.show(f"step {self.step}: {where}")
        for line in self._news(entries):
            self.show(f"    {line}")
        self.show(f"    {callers}")
        return self.ask(f"What do you do? '{_ROLL_BACK}' takes the version back, Enter waits.", where) == _ROLL_BACK

    def ask(self, question: str, where: str) -> str:
        """Ask a question, and record answer and time."""
        self.show(question)
        began = self.clock()
        typed = " ".join(self.read().split())[:_LONGEST_ANSWER] or _WAIT
        took = self.clock() - began
        self.decided_s.append(took)
        self.notes.append(f"{where}: '{typed}' after {took:.1f} s")
        return typed

    def _headline(self, ledger: Ledger) -> str:
        """Which versions answer, and where the rollout stands."""
        split = ledger.split
        if split is None:
            return "no version is served"
        share = f", version {split.candidate.number} answers {split.weight:g} %" if split.candidate else ""
        stage = f"; the rollout is {ledger.rollout.stage}" if ledger.rollout is not None else "; no rollout is open"
        return f"version {split.champion.number} is champion{share}{stage}"

    def _news(self, entries: Sequence[Entry]) -> list[str]:
        """The latest entries of the journal since the last step, each as a sentence."""
        fresh = [entry for entry in entries if entry.seq > self._shown]
        if entries:
            self._shown = entries[-1].seq
        events = (decode_event(entry.kind, entry.data) for entry in fresh)
        told = [
            " ".join(describe_event(one).split()) for one in events if not isinstance(one, EffectIntended | EffectDone)
        ]
        return told[-_LATEST:]
