"""Count how often early warning signals were followed by measured harm."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from surefoot.core.champion_watch.day_counts import DAY_S

FOLLOW_UP_S = 14.0 * DAY_S
"""Time after the labels' delay within which harm has to be measured for an early alarm to be a hit [seconds]."""


@dataclass(frozen=True, slots=True)
class EarlySignalHistory:
    """What became of the alarms of one early signal.

    Attributes:
        hits: Alarms that measured harm followed within the labels' delay and two weeks [count].
        false_alarms: Alarms that it did not follow [count].
        since: When the alarm began of which neither is known yet [Unix seconds]; None without one.
        alarmed: Whether it alarmed at the last look: an alarm that goes on is counted once.
    """

    hits: int = 0
    false_alarms: int = 0
    since: float | None = None
    alarmed: bool = False

    @property
    def summary(self) -> str:
        """All its alarms, for people."""
        waiting = "" if self.since is None else "; the latest is not decided yet"
        return f"{self.hits} came before measured harm, {self.false_alarms} did not{waiting}"

    @property
    def sentence(self) -> str:
        """How far it can be trusted, for people."""
        known = self.hits + self.false_alarms
        if not known:
            return "its first early alarm"
        return f"{self.hits} of its {known} earlier alarm{'' if known == 1 else 's'} came before measured harm"


def count_early_alarms(
    known: Mapping[str, EarlySignalHistory], at: float, alarming: Collection[str], *, harm: bool, delay: float
) -> dict[str, EarlySignalHistory]:
    """Add one look to what is known of each early signal.

    Args:
        known: History before the look, by name of the signal.
        at: When the look was [Unix seconds].
        alarming: Names of the early signals that alarm.
        harm: Whether the look has measured harm, with labels or on errors or latency.
        delay: Age at which labels count [seconds].

    Law: the alarms of a signal are its hits, its false alarms and at most one that is open.
    """
    made = {}
    for name in sorted({*known, *alarming}):
        one, alarms = known.get(name, EarlySignalHistory()), name in alarming
        if alarms and not one.alarmed and one.since is None:
            one = replace(one, since=at)
        if one.since is not None and harm:
            one = replace(one, hits=one.hits + 1, since=None)
        elif one.since is not None and at - one.since > delay + FOLLOW_UP_S:
            one = replace(one, false_alarms=one.false_alarms + 1, since=None)
        made[name] = replace(one, alarmed=alarms)
    return made
