"""What the registry asks for is opened once, refused once, and ended when the registry takes it back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from surefoot.core.domain import RegistryView, Stage
from surefoot.core.errors import RegistryUnavailable, Rejected
from surefoot.rollout import (
    CandidateRequest,
    adopt_champion,
    drive_rollout,
    end_rollout,
    end_withdrawn_rollout,
    open_promotion,
    open_requested_rollout,
    open_rollback,
)
from surefoot.rollout.candidates import ALIAS_SOURCE, STAGE_SOURCE, CandidateResult, candidate_requests
from surefoot.rollout.rollout_commands import PromotionRequest
from tests.fakes import POLICY, Scenario
from tests.scripted import POINTS, events, scenario, started


def _open(env: Scenario, facts: str = "") -> CandidateResult:
    """Do what a tick does."""
    return open_requested_rollout(env.ports(), "m", env.registry.view("m"), lambda wish: _request(env, wish), facts)


def _request(env: Scenario, wish: CandidateRequest) -> PromotionRequest:
    return replace(env.request(), number=wish.number, reason=wish.reason)


def test_the_alias_comes_first_and_the_others_are_named() -> None:
    """Of an alias and two versions in Staging the alias is taken; the others are named and wait for its end."""
    env = scenario()
    env.registry.aliases = {"champion": "1", "candidate": "2"}
    env.registry.stages = {"2": "Staging", "3": "Staging"}
    assert [(wish.number, wish.source) for wish in candidate_requests(env.registry.view("m"))] == [
        ("2", ALIAS_SOURCE),
        ("3", STAGE_SOURCE),
    ]
    found = _open(env)
    assert found.number == "2"
    assert found.lines == ("version 3 (stage Staging) waits: version 2 is taken first",)
    assert _open(env) == CandidateResult()  # it has what it asks for
    end_rollout(env.ports(), "m", Stage.ABORTED, "a test")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    found = _open(env)
    assert found.number == "3"
    assert "version 2 is not taken, though alias candidate asks for it" in found.lines[0]


def test_a_refusal_is_one_entry_until_its_facts_change() -> None:
    """A wish that is refused is journalled once, tried again when a fact changes, and journalled again then."""
    env = scenario()
    env.registry.aliases = {"champion": "1", "candidate": "1"}
    adopt_champion(env.ports(), "m")
    assert "version 1 of m is the champion: nothing to promote" in _open(env).lines[0]
    head = env.ports().ledger("m").head
    assert _open(env) == CandidateResult()
    assert env.ports().ledger("m").head == head
    assert _open(env, "another policy").lines == ()  # tried again; the same reason is not said again
    assert env.ports().ledger("m").head == head + 1


def test_a_registry_that_is_down_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that cannot be read just now is asked for again by the next tick, and nothing is journalled."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    head = env.ports().ledger("m").head
    with monkeypatch.context() as broken:

        def down(_model: str, _number: str) -> None:
            raise RegistryUnavailable("version 2 of m is PENDING_REGISTRATION")

        broken.setattr(env.registry, "resolve", down)
        assert "is not opened yet: version 2 of m is PENDING" in _open(env).lines[0]
    assert env.ports().ledger("m").head == head
    assert _open(env).number == "2"


def test_a_new_alias_supersedes_and_stages_take_no_turns() -> None:
    """Alias candidate on another version is a new candidate; a version that was superseded in Staging stays so."""
    env = scenario()
    env.registry.stages = {"2": "Staging"}
    env.registry.aliases = {"champion": "1"}
    assert _open(env).number == "2"
    env.registry.aliases["candidate"] = "3"
    assert _open(env).number == "3"
    assert next(item.stage for item in env.ports().ledger("m").rollouts.values()) is Stage.SUPERSEDED
    end_rollout(env.ports(), "m", Stage.ABORTED, "a test")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert _open(env).number == ""


def _gone(view: RegistryView) -> RegistryView:
    return replace(view, exists=False, aliases={}, stages={}, statuses={})


def _without(view: RegistryView) -> RegistryView:
    return replace(view, aliases={k: v for k, v in view.aliases.items() if k != "candidate"})


def _deleted(view: RegistryView) -> RegistryView:
    return replace(_without(view), stages={k: v for k, v in view.stages.items() if k != "2"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without, "alias candidate, which had asked for it, was deleted"),
        (_deleted, "version 2 was deleted from the registry"),
        (_gone, "the registered model m was deleted or renamed"),
    ],
)
def test_what_the_registry_takes_back_is_withdrawn(change: Callable[[RegistryView], RegistryView], says: str) -> None:
    """Without its alias, its version or its model an open rollout ends as Withdrawn, with its traffic back."""
    for point in POINTS.values():
        env = scenario()
        request = replace(env.request(), source=ALIAS_SOURCE)
        open_promotion(env.ports(), request)
        ledger = started(env, point)
        if ledger.rollout is None or ledger.rollout.stage in {Stage.PROMOTING, Stage.BAKING}:
            assert end_withdrawn_rollout(env.ports(), "m", change(env.registry.view("m"))) == ""
            continue
        assert end_withdrawn_rollout(env.ports(), "m", env.registry.view("m")) == ""
        assert end_withdrawn_rollout(env.ports(), "m", change(env.registry.view("m"))) == says
        ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
        (ended,) = events(env, "RolloutEnded")
        assert ended["sink"] == Stage.WITHDRAWN
        assert env.traffic.split is None or env.traffic.split.candidate is None


def test_what_was_started_by_hand_has_no_alias_to_lose() -> None:
    """A rollout that a person has started goes on without an alias, and ends with its version."""
    env = scenario()
    open_promotion(env.ports(), env.request())
    assert end_withdrawn_rollout(env.ports(), "m", _without(env.registry.view("m"))) == ""
    assert end_withdrawn_rollout(env.ports(), "m", _deleted(env.registry.view("m"))) != ""


def test_a_withdrawn_version_may_be_asked_for_again() -> None:
    """After a withdrawal the same version is opened again without force."""
    env = scenario()
    assert _open(env).number == "2"
    end_withdrawn_rollout(env.ports(), "m", _without(env.registry.view("m")))
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert _open(env).number == "2"


def test_an_alias_that_is_almost_right_is_named() -> None:
    """Aliases that differ by case from those that are looked at are named, for both roles."""
    env = scenario()
    env.registry.aliases = {"champion": "1", "Candidate": "2"}
    assert _open(env).lines == ("there is an alias 'Candidate' on version 2, but the name is 'candidate'",)
    env.registry.aliases = {"Champion": "1"}
    with pytest.raises(Rejected, match="there is an alias 'Champion' on version 1"):
        adopt_champion(env.ports(), "m")


def test_a_champion_that_was_moved_by_hand_is_refused_at_opening() -> None:
    """A promotion does not begin while alias champion is not what is served; the message names what mends it."""
    env = scenario(POLICY)
    adopt_champion(env.ports(), "m")
    env.registry.aliases["champion"] = "3"
    with pytest.raises(Rejected, match="points to version 3, but version 1 is served: 'surefoot repair m'"):
        open_promotion(env.ports(), env.request())


def test_a_version_that_was_taken_back_after_its_promotion_is_refused_once() -> None:
    """Asked for again after its rollback, a promoted version is refused once, named for being taken back."""
    env = scenario()
    started(env)
    open_rollback(env.ports(), "m", "alerts doubled")
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    env.registry.aliases["candidate"] = "2"
    (line,) = _open(env).lines
    assert "it was promoted, then taken back: alerts doubled" in line
    assert "--force" in line
    assert _open(env) == CandidateResult()


def test_a_version_that_serves_after_its_promotion_is_not_refused() -> None:
    """A version that stays in Staging after its promotion asks for nothing more, and nothing is said."""
    env = scenario()
    env.registry.aliases.pop("candidate")
    env.registry.stages = {"2": "Staging"}
    started(env)
    head = env.ports().ledger("m").head
    assert _open(env) == CandidateResult()
    assert env.ports().ledger("m").head == head
