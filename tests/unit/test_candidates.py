"""What the registry asks for is opened once, refused once, and ended when the registry takes it back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from surefoot.core.errors import RegistryUnavailable, Rejected
from surefoot.core.model import Stage
from surefoot.core.registry import RegistryView
from surefoot.rollout import Wish, adopt, drive, end, open_promotion, open_rollback, open_wanted, withdraw
from surefoot.rollout.candidates import ALIAS, STAGE, Opened, wishes
from tests.fakes import POLICY, World
from tests.scripted import POINTS, events, started, world


def _open(seen: World, facts: str = "") -> Opened:
    """Do what a tick does."""
    return open_wanted(seen.ports(), "m", seen.registry.view("m"), lambda wish: _request(seen, wish), facts)


def _request(seen: World, wish: Wish) -> object:
    return replace(seen.request(), number=wish.number, reason=wish.reason)


def test_the_alias_comes_first_and_the_others_are_named() -> None:
    """Of an alias and two versions in Staging the alias is taken; the others are named and wait for its end."""
    seen = world()
    seen.registry.aliases = {"champion": "1", "candidate": "2"}
    seen.registry.stages = {"2": "Staging", "3": "Staging"}
    assert [(wish.number, wish.source) for wish in wishes(seen.registry.view("m"))] == [("2", ALIAS), ("3", STAGE)]
    found = _open(seen)
    assert found.number == "2"
    assert found.lines == ("version 3 (stage Staging) waits: version 2 is taken first",)
    assert _open(seen) == Opened()  # it has what it asks for
    end(seen.ports(), "m", Stage.ABORTED, "a test")
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    found = _open(seen)
    assert found.number == "3"
    assert "version 2 is not taken, though alias candidate asks for it" in found.lines[0]


def test_a_refusal_is_one_entry_until_its_facts_change() -> None:
    """A wish that is refused is journalled once, tried again when a fact changes, and journalled again then."""
    seen = world()
    seen.registry.aliases = {"champion": "1", "candidate": "1"}
    adopt(seen.ports(), "m")
    assert "version 1 of m is the champion: nothing to promote" in _open(seen).lines[0]
    head = seen.ports().ledger("m").head
    assert _open(seen) == Opened()
    assert seen.ports().ledger("m").head == head
    assert _open(seen, "another policy").lines == ()  # tried again; the same reason is not said again
    assert seen.ports().ledger("m").head == head + 1


def test_a_registry_that_is_down_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that cannot be read just now is asked for again by the next tick, and nothing is journalled."""
    seen = world()
    adopt(seen.ports(), "m")
    head = seen.ports().ledger("m").head
    with monkeypatch.context() as broken:

        def down(_model: str, _number: str) -> None:
            raise RegistryUnavailable("version 2 of m is PENDING_REGISTRATION")

        broken.setattr(seen.registry, "resolve", down)
        assert "is not opened yet: version 2 of m is PENDING" in _open(seen).lines[0]
    assert seen.ports().ledger("m").head == head
    assert _open(seen).number == "2"


def test_a_new_alias_supersedes_and_stages_take_no_turns() -> None:
    """Alias candidate on another version is a new candidate; a version that was superseded in Staging stays so."""
    seen = world()
    seen.registry.stages = {"2": "Staging"}
    seen.registry.aliases = {"champion": "1"}
    assert _open(seen).number == "2"
    seen.registry.aliases["candidate"] = "3"
    assert _open(seen).number == "3"
    assert next(item.stage for item in seen.ports().ledger("m").rollouts.values()) is Stage.SUPERSEDED
    end(seen.ports(), "m", Stage.ABORTED, "a test")
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    assert _open(seen).number == ""


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
        seen = world()
        request = replace(seen.request(), source=ALIAS)
        open_promotion(seen.ports(), request)
        ledger = started(seen, point)
        if ledger.rollout is None or ledger.rollout.stage in {Stage.PROMOTING, Stage.BAKING}:
            assert withdraw(seen.ports(), "m", change(seen.registry.view("m"))) == ""
            continue
        assert withdraw(seen.ports(), "m", seen.registry.view("m")) == ""
        assert withdraw(seen.ports(), "m", change(seen.registry.view("m"))) == says
        ledger = drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
        (ended,) = events(seen, "RolloutEnded")
        assert ended["sink"] == Stage.WITHDRAWN
        assert seen.traffic.split is None or seen.traffic.split.candidate is None


def test_what_was_started_by_hand_has_no_alias_to_lose() -> None:
    """A rollout that a person has started goes on without an alias, and ends with its version."""
    seen = world()
    open_promotion(seen.ports(), seen.request())
    assert withdraw(seen.ports(), "m", _without(seen.registry.view("m"))) == ""
    assert withdraw(seen.ports(), "m", _deleted(seen.registry.view("m"))) != ""


def test_a_withdrawn_version_may_be_asked_for_again() -> None:
    """After a withdrawal the same version is opened again without force."""
    seen = world()
    assert _open(seen).number == "2"
    withdraw(seen.ports(), "m", _without(seen.registry.view("m")))
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    assert _open(seen).number == "2"


def test_an_alias_that_is_almost_right_is_named() -> None:
    """Aliases that differ by case from those that are looked at are named, for both roles."""
    seen = world()
    seen.registry.aliases = {"champion": "1", "Candidate": "2"}
    assert _open(seen).lines == ("there is an alias 'Candidate' on version 2, but the name is 'candidate'",)
    seen.registry.aliases = {"Champion": "1"}
    with pytest.raises(Rejected, match="there is an alias 'Champion' on version 1"):
        adopt(seen.ports(), "m")


def test_a_champion_that_was_moved_by_hand_is_refused_at_opening() -> None:
    """A promotion does not begin while alias champion is not what is served; the message names what mends it."""
    seen = world(POLICY)
    adopt(seen.ports(), "m")
    seen.registry.aliases["champion"] = "3"
    with pytest.raises(Rejected, match="points to version 3, but version 1 is served: 'surefoot repair m'"):
        open_promotion(seen.ports(), seen.request())


def test_a_version_that_was_taken_back_after_its_promotion_is_refused_once() -> None:
    """Asked for again after its rollback, a promoted version is refused once, named for being taken back."""
    seen = world()
    started(seen)
    open_rollback(seen.ports(), "m", "alerts doubled")
    drive(seen.ports(), "m", until=lambda ledger: not ledger.open)
    seen.registry.aliases["candidate"] = "2"
    (line,) = _open(seen).lines
    assert "it was promoted, then taken back: alerts doubled" in line
    assert "--force" in line
    assert _open(seen) == Opened()


def test_a_version_that_serves_after_its_promotion_is_not_refused() -> None:
    """A version that stays in Staging after its promotion asks for nothing more, and nothing is said."""
    seen = world()
    seen.registry.aliases.pop("candidate")
    seen.registry.stages = {"2": "Staging"}
    started(seen)
    head = seen.ports().ledger("m").head
    assert _open(seen) == Opened()
    assert seen.ports().ledger("m").head == head
