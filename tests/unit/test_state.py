"""What the journal says of a model, entry by entry."""

import itertools
from collections.abc import Iterable

import pytest

from surefoot.core.domain import Outcome, Role, RolloutKind, Split, Stage, Verdict, Version
from surefoot.core.errors import InvariantBroken
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry
from surefoot.core.journal.events import (
    ChampionAdopted,
    DriftFound,
    EffectDone,
    EffectIntended,
    EffectRefused,
    EndDecided,
    Event,
    GateJudged,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
    StageEntered,
    encode_event,
)
from surefoot.core.journal.ledger import Ledger, derive_split_from_effect, fold_entries

V1, V2, V3 = (Version(n, f"sha256:{n * 64}") for n in "123")
VERDICT = Verdict("errors", "error_rate", Outcome.PASS, Role.GUARDRAIL, "fine")
MOVE, NAME = SetSplit(V1, V2, 5.0), SetAlias("champion", "2", "1")


def opened(
    rollout: str = "r", candidate: Version = V2, champion: Version = V1, kind: RolloutKind = RolloutKind.PROMOTION
) -> RolloutOpened:
    """A rollout of one version over another."""
    return RolloutOpened(rollout, kind, candidate, champion, {}, "", "", "salt", 1, "why")


def sealed(events: Iterable[Event]) -> list[Entry]:
    """Entries of a chain, one a second."""
    entries: list[Entry] = []
    for seq, event in enumerate(events, start=1):
        kind, data = encode_event(event)
        entries.append(
            seal_entry("m", seq, float(seq), 0.0, "test", kind, data, entries[-1].hash if entries else GENESIS_HASH)
        )
    return entries


def after(*events: Event) -> Ledger:
    """The ledger that these events lead to."""
    return fold_entries("m", sealed(events))


def promoted(*versions: Version) -> list[Event]:
    """Version after version, each promoted over the one before."""
    events: list[Event] = [ChampionAdopted(versions[0])]
    for index, (old, new) in enumerate(itertools.pairwise(versions)):
        intent = len(events) + 2
        effect = SetAlias("champion", new.number, old.number)
        events += [opened(f"r{index}", new, old), EffectIntended(f"r{index}", effect)]
        events += [EffectDone(f"r{index}", intent, False, 1.0), RolloutEnded(f"r{index}", Stage.PROMOTED, "")]
    return events


def test_nothing_has_happened() -> None:
    """An empty journal is an empty ledger."""
    assert after() == Ledger("m")
    assert after().rollout is None
    assert after().target() is None


def test_adopted_champion_is_proven() -> None:
    """The version that served before the first rollout is good enough to go back to."""
    ledger = after(ChampionAdopted(V1))
    assert (ledger.champion, ledger.proven, ledger.target()) == (V1, (V1,), None)


def test_stage_starts_its_looks_afresh() -> None:
    """A new step forgets the verdicts, the pause and the look of the one before."""
    judged = GateJudged("r", Stage.RAMPING, 0, 3, VERDICT)
    paused = Paused("r", Outcome.NO_DATA, "errors", "nobody came")
    before = after(opened(), StageEntered("r", Stage.RAMPING, 0, ""), judged, paused).rollout
    assert before is not None
    assert (before.look, before.looked_at, before.paused, dict(before.verdicts)) == (
        3,
        3.0,
        paused,
        {"errors": VERDICT},
    )
    now = after(
        opened(), StageEntered("r", Stage.RAMPING, 0, ""), judged, paused, StageEntered("r", Stage.RAMPING, 1, "")
    ).rollout
    assert now is not None
    assert (now.step, now.entered_at, now.look, now.paused, dict(now.verdicts)) == (1, 5.0, 0, None, {})


def test_a_look_collects_its_gates_and_the_next_forgets_them() -> None:
    """Verdicts of one look stand together; the first verdict of the next look stands alone."""
    other = Verdict("latency", "latency", Outcome.FAIL, Role.GUARDRAIL, "slow")
    events: list[Event] = [
        opened(),
        *(GateJudged("r", Stage.RAMPING, 0, look, v) for look, v in ((1, VERDICT), (1, other), (2, VERDICT))),
    ]
    both, one = after(*events[:3]).rollout, after(*events).rollout
    assert both is not None
    assert one is not None
    assert set(both.verdicts) == {"errors", "latency"}
    assert (set(one.verdicts), one.look) == ({"errors"}, 2)


def test_done_split_is_the_split() -> None:
    """The split that was acknowledged carries the rollout's salt and id and the intent's number."""
    ledger = after(ChampionAdopted(V1), opened(), EffectIntended("r", MOVE), EffectDone("r", 3, False, 1.0))
    assert ledger.split == Split(V1, V2, 5.0, "salt", "r", 3)
    assert ledger.split == derive_split_from_effect(ledger, 3, MOVE)
    assert ledger.intent is None
    assert ledger.rollout is not None
    assert ledger.rollout.done == (MOVE,)


def test_intended_effect_has_not_happened() -> None:
    """An intent alone changes neither split nor champion, and an end of another intent does not settle it."""
    ledger = after(ChampionAdopted(V1), opened(), EffectIntended("r", NAME), EffectDone("r", 2, False, 1.0))
    assert (ledger.intent, ledger.champion, ledger.split) == ((3, NAME), V1, None)


def test_refused_effect_is_remembered() -> None:
    """What could not be done is known, and is not pending any more."""
    ledger = after(ChampionAdopted(V1), opened(), EffectIntended("r", NAME), EffectRefused("r", 3, "moved"))
    assert (ledger.intent, ledger.champion) == (None, V1)
    assert ledger.rollout is not None
    assert ledger.rollout.refused == (NAME,)


def test_moved_alias_is_the_champion() -> None:
    """Once `champion` points to the new version, it is the champion; it is proven only at the end of its bake."""
    moved: list[Event] = [ChampionAdopted(V1), opened(), EffectIntended("r", NAME), EffectDone("r", 3, False, 1.0)]
    assert (after(*moved).champion, after(*moved).proven) == (V2, (V1,))
    done = after(*moved, RolloutEnded("r", Stage.PROMOTED, "baked"))
    assert (done.champion, done.proven, done.target(), done.open) == (V2, (V1, V2), V1, "")


@pytest.mark.parametrize(
    "terminal_stage", [Stage.ABORTED, Stage.ROLLED_BACK, Stage.SUPERSEDED, Stage.WITHDRAWN, Stage.REJECTED]
)
def test_ended_rollout_leaves_the_old_champion(terminal_stage: Stage) -> None:
    """Whatever was done on the way, a rollout that did not promote leaves the champion it found, and proves nobody."""
    moved: list[Event] = [ChampionAdopted(V1), opened(), EffectIntended("r", NAME), EffectDone("r", 3, False, 1.0)]
    ledger = after(*moved, EndDecided("r", terminal_stage, "", ""), RolloutEnded("r", terminal_stage, "why"))
    assert (ledger.champion, ledger.proven, ledger.open) == (V1, (V1,), "")
    assert (ledger.rollouts["r"].stage, ledger.rollouts["r"].reason) == (terminal_stage, "why")


def test_rolled_back_version_is_no_target() -> None:
    """Who was taken back after its bake is not gone back to."""
    back = opened("b", V2, V3, RolloutKind.ROLLBACK)
    ledger = after(*promoted(V1, V2, V3), back, RolloutEnded("b", Stage.FAST_ROLLED_BACK, ""))
    assert (ledger.champion, ledger.proven, ledger.target()) == (V2, (V1, V2), V1)


def test_target_is_the_last_proven_other_than_the_champion() -> None:
    """Promoting an old version again makes it the latest proven one."""
    assert after(*promoted(V1, V2, V3)).target() == V2
    assert after(*promoted(V1, V2, V3, V2)).proven == (V1, V3, V2)
    assert after(*promoted(V1, V2, V3, V2)).target() == V3


def test_attempts_are_those_of_the_same_bytes() -> None:
    """Attempts follow the digest, not the number, and rollbacks are none."""
    twin = Version("9", V2.digest)
    ledger = after(
        ChampionAdopted(V1),
        *(opened("a"), RolloutEnded("a", Stage.REJECTED, "")),
        *(opened("b", twin), RolloutEnded("b", Stage.ABORTED, "")),
        *(opened("c", V3), RolloutEnded("c", Stage.ABORTED, "")),
        *(opened("d", V2, kind=RolloutKind.ROLLBACK), RolloutEnded("d", Stage.FAST_ROLLED_BACK, "")),
    )
    assert [item.opened.rollout for item in ledger.attempts(V2)] == ["a", "b"]


def test_drift_is_remembered() -> None:
    """A rollout under which the world moved knows it."""
    rollout = after(opened(), DriftFound("r", "alias champion", "1", "3")).rollout
    assert rollout is not None
    assert rollout.drifted


def test_events_outside_a_rollout_change_no_rollout() -> None:
    """A verdict or a stage without an open rollout is only counted."""
    ledger = after(GateJudged("r", Stage.RAMPING, 0, 1, VERDICT), StageEntered("r", Stage.RAMPING, 0, ""))
    assert ledger == Ledger("m", head=2, now=2.0)


def test_unknown_event_stops_the_fold() -> None:
    """A journal of a newer release is not half understood."""
    entry = seal_entry("m", 1, 0.0, 0.0, "test", "RolloutTeleported", {}, GENESIS_HASH)
    with pytest.raises(InvariantBroken, match="RolloutTeleported"):
        fold_entries("m", [entry])
