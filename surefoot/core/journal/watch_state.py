"""Track from journal events how a champion is evaluated (watched) after its promotion."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from surefoot.core.champion_watch.early_signal_history import EarlySignalHistory, count_early_alarms
from surefoot.core.domain import Outcome
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched, IncidentOpened

_WatchEvent = ChampionJudged | ChampionWatched | IncidentOpened


@dataclass(frozen=True, slots=True)
class WatchState:
    """What is known of a model's champions after their bakes.

    Attributes:
        rollout: Promotion of the champion that was last looked at; empty without one.
        at: When that was [Unix seconds].
        found: What was found then; None before the first look.
        judged: The latest comparison with the proven-good version, by gate.
        incidents: When each incident was opened, by promotion and trigger [Unix seconds].
        retrain: When an incident last wanted a deployment started [Unix seconds], and which; None without one.
        early: What became of the alarms of each early signal, by its name.
    """

    rollout: str = ""
    at: float = 0.0
    found: ChampionWatched | None = None
    judged: Mapping[str, ChampionJudged] = field(default_factory=dict)
    incidents: Mapping[tuple[str, str], float] = field(default_factory=dict)
    retrain: tuple[float, str] | None = None
    early: Mapping[str, EarlySignalHistory] = field(default_factory=dict)

    def after_event(self, event: _WatchEvent, at: float) -> "WatchState":
        """What is known after an event that was journalled then [Unix seconds]."""
        match event:
            case ChampionJudged():
                return replace(self, judged={**self.judged, event.verdict.gate: event})
            case ChampionWatched():
                judged = {name: one for name, one in self.judged.items() if one.rollout == event.rollout}
                harm = bool(event.alarms) or any(one.verdict.outcome is Outcome.FAIL for one in judged.values())
                early = count_early_alarms(self.early, at, event.early_signals, harm=harm, delay=event.label_delay)
                return replace(self, rollout=event.rollout, at=at, found=event, judged=judged, early=early)
            case IncidentOpened():
                retrain = (at, event.retrain) if event.retrain else self.retrain
                incidents = {**self.incidents, (event.rollout, event.trigger): at}
                return replace(self, incidents=incidents, retrain=retrain)
