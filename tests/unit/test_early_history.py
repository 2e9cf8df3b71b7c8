"""Each alarm of an early signal is counted once: as a hit, as a false alarm, or as one that is not decided yet."""

from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.champion_watch.early_signal_history import FOLLOW_UP_S, EarlySignalHistory, count_early_alarms

DELAY = 3.0 * 86_400.0
_LOOK = st.tuples(st.floats(0.5, 30.0), st.booleans(), st.booleans())


@given(looks=st.lists(_LOOK, max_size=30))
def test_every_alarm_is_counted_once(looks: list[tuple[float, bool, bool]]) -> None:
    """Alarms that began are hits, false alarms and at most one open; an alarm that goes on is no second one."""
    known: dict[str, EarlySignalHistory] = {}
    now, began, before = 0.0, 0, EarlySignalHistory()
    for days, alarms, harm in looks:
        now += days * 86_400.0
        known = count_early_alarms(known, now, ["drift"] if alarms else [], harm=harm, delay=DELAY)
        one = known.get("drift", EarlySignalHistory())
        began += alarms and not before.alarmed and before.since is None
        assert one.hits + one.false_alarms + (one.since is not None) == began
        assert one.since is None or now - one.since <= DELAY + FOLLOW_UP_S
        assert one.since is None or not harm
        before = one
