"""What became of each version, and what titles say was taken back."""

import pytest

from surefoot.core.domain import TERMINAL_STAGES, RolloutKind, Stage, Version
from surefoot.core.journal.event_sentences import describe_event, describe_rollout
from surefoot.core.journal.events import CandidateRefused, ChampionAdopted, Event, RolloutEnded, StageEntered
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.served_versions.version_status import (
    REFUSED_OUTCOME,
    VersionStatus,
    current_outcome,
    is_failed_end,
    version_statuses,
)
from tests.unit.test_state import V1, V2, V3, opened, sealed

V4 = Version("4", f"sha256:{'4' * 64}")


def said(*events: Event) -> dict[str, VersionStatus]:
    """What these events say of each version."""
    return version_statuses(sealed(events))


def taken_back(rollout: str, bad: Version, good: Version) -> list[Event]:
    """A promoted version is taken back by an operator."""
    began = opened(rollout, good, bad, kind=RolloutKind.ROLLBACK)
    return [began, RolloutEnded(rollout, Stage.FAST_ROLLED_BACK, "alerts doubled")]


def promoted(rollout: str, old: Version, new: Version) -> list[Event]:
    """A version is promoted over another one."""
    return [opened(rollout, new, old), RolloutEnded(rollout, Stage.PROMOTED, "baked")]


@pytest.mark.parametrize("terminal_stage", sorted(TERMINAL_STAGES - {Stage.FAST_ROLLED_BACK}))
def test_a_version_says_how_its_rollout_ended(terminal_stage: Stage) -> None:
    """The outcome of a version is the terminal stage of its last promotion, with reason, rollout and time."""
    found = said(ChampionAdopted(V1), opened("r", V2, V1), RolloutEnded("r", terminal_stage, "because"))
    assert found == {"2": VersionStatus("2", terminal_stage.value, "because", "r", 3.0, 0.0, over=True)}


def test_a_version_under_way_says_where_it_stands() -> None:
    """While a rollout is open its version says the stage, and the step as people count it."""
    events: list[Event] = [
        ChampionAdopted(V1),
        opened("r", V2, V1),
        StageEntered("r", Stage.RAMPING, 1, "every gate passed"),
    ]
    assert said(*events[:2])["2"].outcome == "Submitted"
    assert said(*events)["2"] == VersionStatus("2", "Ramping step 2", "every gate passed", "r", 3.0, 0.0, over=False)


def test_a_version_taken_back_after_its_bake_says_so() -> None:
    """A rollback of 4 to 1 is said on version 4's page, and nothing changes on version 1's."""
    found = said(ChampionAdopted(V1), *promoted("a", V1, V4), *taken_back("b", V4, V1))
    assert list(found) == ["4"]
    assert (found["4"].outcome, found["4"].rollout) == ("FastRolledBack", "b")
    assert found["4"].reason == "rollback of version 4 to version 1: alerts doubled"


def test_a_version_refused_without_a_rollout_says_why() -> None:
    """A refused wish is the version's outcome until a rollout of it opens; the champion is no refused version."""
    refused = CandidateRefused("3", "alias", "it is FAILED_REGISTRATION")
    champion = CandidateRefused("1", "alias", "version 1 is the champion: nothing to promote")
    found = said(ChampionAdopted(V1), refused, champion)
    assert list(found) == ["3"]
    assert (found["3"].outcome, found["3"].reason, found["3"].rollout) == (REFUSED_OUTCOME, refused.reason, "")
    assert said(ChampionAdopted(V1), refused, opened("r", V3, V1))["3"].outcome == "Submitted"


@pytest.mark.parametrize(
    ("terminal_stage", "outcome", "reason"),
    [
        (Stage.ROLLED_BACK, "RolledBack", "already tried; --force tries it again"),
        (Stage.REJECTED, "Rejected", "already tried; --force tries it again"),
        (Stage.WITHDRAWN, REFUSED_OUTCOME, "already tried; --force tries it again"),
        (Stage.SUPERSEDED, REFUSED_OUTCOME, "already tried; --force tries it again"),
    ],
)
def test_a_refusal_hides_no_verdict(terminal_stage: Stage, outcome: str, reason: str) -> None:
    """A version that was turned away and is asked for again keeps its outcome, and says why it is not tried again."""
    again = CandidateRefused("2", "alias", reason)
    found = said(ChampionAdopted(V1), opened("r", V2, V1), RolloutEnded("r", terminal_stage, "bad"), again)["2"]
    assert (found.outcome, found.reason, found.rollout, found.at) == (outcome, reason, "r", 4.0)


def test_titles_say_what_was_taken_back() -> None:
    """A rollback from 4 to 1 names both in that order, in titles and in the sentence of its opening."""
    back = opened("b", V1, V4, kind=RolloutKind.ROLLBACK)
    assert describe_rollout(back) == "rollback of version 4 to version 1"
    assert describe_rollout(back, short=True) == "rollback of 4 to 1"
    assert describe_rollout(opened("a", V4, V1), short=True) == "promotion of version 4"
    assert describe_event(back) == "rollback of version 4 to version 1 opened: why"


def test_the_last_word_on_a_promotion_is_the_rollback_that_took_it_back() -> None:
    """A promotion whose version was taken back later stands as FastRolledBack; a new promotion stands by itself."""
    events: list[Event] = [ChampionAdopted(V1), *promoted("a", V1, V4), *taken_back("b", V4, V1)]
    ledger = fold_entries("m", sealed(events))
    assert current_outcome(ledger, ledger.rollouts["a"]) == (
        Stage.FAST_ROLLED_BACK,
        "rollback of version 4 to version 1: alerts doubled",
    )
    ledger = fold_entries("m", sealed([*events, *promoted("c", V1, V4)]))
    assert current_outcome(ledger, ledger.rollouts["a"])[0] is Stage.FAST_ROLLED_BACK
    assert current_outcome(ledger, ledger.rollouts["c"]) == (Stage.PROMOTED, "promotion of version 4: baked")
    assert current_outcome(ledger, ledger.rollouts["b"])[0] is Stage.FAST_ROLLED_BACK


@pytest.mark.parametrize("terminal_stage", sorted(TERMINAL_STAGES))
@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_only_what_was_wanted_is_green(kind: str, terminal_stage: Stage) -> None:
    """A promotion is green when it is promoted, a rollback when it went back."""
    wanted = {Stage.PROMOTED, Stage.FAST_PROMOTED} | ({Stage.FAST_ROLLED_BACK} if kind == "rollback" else set())
    assert is_failed_end(kind, terminal_stage) == (terminal_stage not in wanted)


def test_a_part_of_the_journal_says_nothing_of_rollouts_before_it() -> None:
    """Entries of a rollout whose opening is not among them are left out."""
    entries = sealed([ChampionAdopted(V1), *promoted("a", V1, V2), opened("b", V3, V2)])
    assert list(version_statuses(entries[2:])) == ["3"]
