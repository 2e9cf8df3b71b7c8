"""The control plane names standby and fallback to a real gateway: with a split, and at a tick of the controller."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot import wiring
from surefoot.controller.due_work import DueWork
from surefoot.controller.tick_state import TickState
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.events import RolloutEnded, RolloutOpened, SetAlias, SetSplit, StageEntered
from surefoot.rollout import adopt_champion, check_fallback
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from tests.fakes import POLICY
from tests.integration.registry_stack import GOOD, MODEL, ServedStack
from tests.integration.test_standby import said
from tests.integration.waiting import wait_for
from tests.unit.test_controller import FakeScheduler

PICKY, STEADY = "1", "2"
FROM_STANDBY = (200, "proven_good", None, STEADY)
LOADED = {"version": STEADY, "loaded": True}


class PromotedStack(ServedStack):
    """A gateway whose champion fails some requests; the version before it, which fails none, is proven-good."""

    def promote(self) -> None:
        """Adopt the steady version, and promote the picky one as a flow does."""
        self.client.set_registered_model_alias(MODEL, "champion", STEADY)
        with wiring.open_ports(self.config, "flow") as ports:
            old = adopt_champion(ports, MODEL).champion
            assert old is not None
            new = ports.registry.resolve(MODEL, PICKY)
            policy = {**POLICY, "model": MODEL}
            opened = RolloutOpened("up", RolloutKind.PROMOTION, new, old, policy, "", "", "salt", 1, "test")
            ports.append(ports.ledger(MODEL), opened)
            ports.append(ports.ledger(MODEL), StageEntered("up", Stage.PROMOTING, 0, "test"))
            for effect in (SetAlias("champion", PICKY, STEADY), SetSplit(new, None, 0.0)):
                journal_and_apply_effect(ports, ports.ledger(MODEL), effect)
            ports.append(ports.ledger(MODEL), RolloutEnded("up", Stage.PROMOTED, "baked"))

    @property
    def standby(self) -> object:
        """What the gateway says of its standby; None where it has none, or does not answer."""
        return ((self.health() or {}).get("models", {}).get(MODEL) or {}).get("standby")

    @property
    def route_file(self) -> Path:
        """Where the gateway keeps the route of the model."""
        return self.config.home / "gateway" / "routes" / f"{MODEL}.json"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[PromotedStack]:
    """A gateway whose champion was promoted."""
    made = PromotedStack(tmp_path_factory.mktemp("standby"), mlflow_server)
    made.register()
    made.start()
    try:
        made.promote()
        yield made
    finally:
        made.close()


def test_a_flow_names_the_standby_with_the_split(stack: PromotedStack) -> None:
    """The version before the champion is loaded as soon as the champion serves, and answers what that fails."""
    wait_for(lambda: stack.standby == LOADED)
    assert said(stack.ask(1.0)) == (200, None, None, PICKY)
    assert said(stack.ask(3.0)) == FROM_STANDBY


def test_a_gateway_that_was_killed_has_the_standby_again(stack: PromotedStack) -> None:
    """All processes of the gateway are killed: started again it loads the standby by itself, without the controller."""
    stack.kill()
    stack.start()
    wait_for(lambda: stack.standby == LOADED)
    assert said(stack.ask(3.0)) == FROM_STANDBY


def test_a_tick_names_what_the_gateway_has_forgotten(stack: PromotedStack) -> None:
    """A gateway was killed before it had written standby and fallback: the controller's next tick names both."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        check_fallback(ports, MODEL)
    stack.wait_for_fallback(GOOD)
    tick = DueWork(TickState(stack.config), FakeScheduler())
    tick.find_due_work(["reconcile"])
    stack.kill()
    route = json.loads(stack.route_file.read_text())
    left = {key: value for key, value in route.items() if key not in {"standby", "fallback"}}
    stack.route_file.write_text(json.dumps({**left, "warm": []}))
    stack.start()
    wait_for(lambda: said(stack.ask(1.0)) == (200, None, None, PICKY))
    assert stack.standby is None
    assert stack.ask(3.0).status_code == 400
    tick.find_due_work(["reconcile"])
    wait_for(lambda: stack.standby == LOADED)
    stack.wait_for_fallback(GOOD)
    assert said(stack.ask(3.0)) == FROM_STANDBY
