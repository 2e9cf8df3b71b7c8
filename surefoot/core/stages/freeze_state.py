"""Track which freezes of a model are in force, from its journal events."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from surefoot.core.stages.hold_events import FreezeBegan, FreezeEvent, FreezeSource


@dataclass(frozen=True, slots=True)
class FreezeState:
    """Freezes of a model.

    Attributes:
        begun: The latest freeze of each source that was not ended.
    """

    begun: Mapping[FreezeSource, FreezeBegan] = field(default_factory=dict)

    def after_event(self, event: FreezeEvent) -> "FreezeState":
        """The state after one more event."""
        others = {source: one for source, one in self.begun.items() if source is not event.source}
        return FreezeState({**others, event.source: event} if isinstance(event, FreezeBegan) else others)

    def in_force(self, now: float) -> tuple[FreezeBegan, ...]:
        """Freezes that hold at a time [Unix seconds]."""
        return tuple(one for one in self.begun.values() if one.until is None or now < one.until)
