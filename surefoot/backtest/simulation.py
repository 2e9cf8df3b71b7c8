"""Simulate the clock, journal, registry and traffic of a back-test in memory."""

from dataclasses import dataclass, field

from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.domain import RegistryView, Split, Version
from surefoot.core.errors import NotFound, StaleLedger
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry


class SimulatedClock:
    """Time that jumps to the next moment at which something is due."""

    def __init__(self, start: float) -> None:
        """Begin here [Unix seconds]."""
        self.time = start

    def now(self) -> float:
        """Time of the replay [Unix seconds]."""
        return self.time

    def monotonic(self) -> float:
        """The same clock: nothing here takes time of its own [seconds]."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Jump ahead [seconds]."""
        self.time += max(seconds, 0.0)


@dataclass
class MemoryJournal:
    """A hash chain that lasts as long as its process."""

    entries: list[Entry] = field(default_factory=list)

    def read(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Entries of a model above a sequence, in order."""
        return tuple(entry for entry in self.entries[after:] if entry.model == model)

    def append(self, model: str, expected: int, at: float, actor: str, kind: str, data: dict[str, object]) -> Entry:
        """Append one entry.

        Raises:
            StaleLedger: It is not the next one.
        """
        if expected != len(self.entries):
            raise StaleLedger(f"expected {expected}, the journal has {len(self.entries)} entries")
        previous = self.entries[-1].hash if self.entries else GENESIS_HASH
        entry = seal_entry(
            model=model, seq=expected + 1, at=at, wall=at, actor=actor, kind=kind, data=data, previous=previous
        )
        self.entries.append(entry)
        return entry

    def models(self) -> tuple[str, ...]:
        """Every model with entries."""
        return tuple(sorted({entry.model for entry in self.entries}))


class MemoryRegistry:
    """Two versions and their aliases."""

    def __init__(self, champion: str, candidate: str) -> None:
        """Point alias `champion` to one of them."""
        self._versions = {number: Version(number, f"recorded:{number}") for number in (champion, candidate)}
        self._aliases = {"champion": champion, "candidate": candidate}

    def resolve(self, model: str, number: str) -> Version:
        """One of the two.

        Raises:
            NotFound: There is no other.
        """
        if number not in self._versions:
            raise NotFound(f"{model} has no version {number}")
        return self._versions[number]

    def view(self, _model: str) -> RegistryView:
        """Both versions and their aliases."""
        return RegistryView(True, dict(self._aliases), dict.fromkeys(self._versions, "None"))

    def alias(self, _model: str, alias: str) -> str | None:
        """Version number that an alias points to."""
        return self._aliases.get(alias)

    def set_alias(self, _model: str, alias: str, number: str | None) -> None:
        """Point an alias to a version, or remove it."""
        if number is None:
            self._aliases.pop(alias, None)
        else:
            self._aliases[alias] = number


class RecordedTraffic:
    """Splits what was recorded, from the moment at which the split is asked for."""

    def __init__(self, records: RecordedRequests, clock: SimulatedClock) -> None:
        """Nothing is served yet."""
        self._records, self._clock = records, clock
        self._split: Split | None = None

    def live(self, _model: str) -> Split | None:
        """The split of this moment."""
        return self._split

    def settled(self, _model: str, split: Split) -> bool:
        """Whether this is the split of this moment."""
        return self._split == split

    def shift(self, _model: str, split: Split) -> None:
        """Serve this split from now on."""
        self._records.shift(self._clock.now(), split)
        self._split = split
