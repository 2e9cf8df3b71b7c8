"""How each version has served is folded from the journal, and counts of different times add up."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import Outcome
from surefoot.core.journal.served_version_events import ServiceCounted, VersionCounts
from surefoot.core.served_versions.service_summary import Standing, service_summaries
from surefoot.rollout import (
    Ports,
    drive_rollout,
    is_answer_count_due,
    is_exposure_list_due,
    journal_answer_counts,
    open_promotion,
)
from tests.fakes import Scenario

COUNTS = st.builds(
    VersionCounts,
    st.just("2"),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.none() | st.floats(0.0, 1.0),
    st.just("brier"),
)


def promoted(story: str = "good") -> Scenario:
    """A world in which version 2 was promoted, or turned away."""
    env = Scenario(story)
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    return env


def append(ports: Ports, *counts: VersionCounts) -> None:
    """Journal what was counted."""
    ports.append(ports.ledger("m"), ServiceCounted(0.0, 1.0, 0.0, 1.0, counts))


def test_hours_verdicts_and_standing_come_from_the_journal() -> None:
    """A promoted version has the hours since its promotion, its verdicts, and is the champion; the old is proven."""
    env = promoted()
    now = env.clock.now() + 3600.0
    records = {r.version.number: r for r in service_summaries(env.ports().ledger("m"), env.journal.entries, now)}
    whole = next(e.at for e in env.journal.entries if e.kind == "StageEntered" and e.data["stage"] == "Promoting")
    assert records["2"].alone_s == pytest.approx(now - whole)
    assert records["1"].shared_s == records["2"].shared_s > 0.0
    judged = [e for e in env.journal.entries if e.kind == "GateJudged"]
    assert records["2"].verdicts == {Outcome.PASS: len(judged)}
    assert (records["2"].standing, records["1"].standing) == (Standing.CHAMPION, Standing.PROVEN_GOOD)
    assert records["1"].reason == "the registry's champion when Surefoot came"


def test_a_rejected_version_has_not_served() -> None:
    """A version that was turned away before its first weight is in no record."""
    env = promoted("bad-shadow")
    records = service_summaries(env.ports().ledger("m"), env.journal.entries, env.clock.now())
    assert [record.version.number for record in records] == ["1"]


@given(st.lists(COUNTS, min_size=1, max_size=6))
def test_counts_of_different_times_add_up(parts: list[VersionCounts]) -> None:
    """Requests and labels are sums, and the loss is the mean over all that was scored."""
    env = promoted()
    for part in parts:
        append(env.ports(), part)
    (found,) = (
        record
        for record in service_summaries(env.ports().ledger("m"), env.journal.entries, env.clock.now())
        if record.version.number == "2"
    )
    assert found.counts is not None
    assert found.counts.requests == sum(part.requests for part in parts)
    assert found.counts.labels == sum(part.labels for part in parts)
    scored = [part for part in parts if part.loss is not None]
    if not scored:
        assert found.score is None
    else:
        total = sum((part.loss or 0.0) * part.scored for part in scored)
        assert found.score == pytest.approx(total / sum(part.scored for part in scored))


def test_a_root_mean_square_is_taken_of_the_whole() -> None:
    """The score in `rmse` is the root of the mean of all squares, not a mean of roots."""
    env = promoted()
    append(env.ports(), VersionCounts("2", 1, 1, 1, 4.0, "rmse"))
    append(env.ports(), VersionCounts("2", 1, 1, 1, 16.0, "rmse"))
    records = service_summaries(env.ports().ledger("m"), env.journal.entries, env.clock.now())
    assert next(r.score for r in records if r.version.number == "2") == pytest.approx(10.0**0.5)


def test_each_moment_falls_into_one_count() -> None:
    """Windows of successive counts follow one another, of requests and of labels, whatever the maturity becomes."""
    env = promoted("bad-live")
    seen: list[tuple[float, float, float, float]] = []

    def count(*window: float) -> tuple[VersionCounts, ...]:
        seen.append(window)  # type: ignore[arg-type]
        return ()

    ledger = env.ports().ledger("m")
    assert not is_answer_count_due(ledger, ledger.ended_at)
    assert not is_exposure_list_due(ledger, ledger.ended_at)
    for maturity in (500.0, 5_000_000.0, 0.0):
        env.clock.time += 1000.0
        assert is_exposure_list_due(env.ports().ledger("m"), env.clock.now())
        journal_answer_counts(env.ports(), "m", maturity, count, always=True)
    for one, other in itertools.pairwise(seen):
        assert (one[1], one[3]) == (other[0], other[2])
        assert other[0] <= other[1]
        assert other[2] <= other[3]
    assert len(seen) == 3
