"""Promote a version at once, with all its effects but without evaluating gates."""

from collections.abc import Callable
from dataclasses import replace

from surefoot import wiring
from surefoot.core.domain import Stage
from surefoot.core.journal.events import RolloutEnded, StageEntered
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout import Ports, drive_rollout, open_promotion, retry_on_conflict
from surefoot.settings import Settings

_ACTOR = "bench"


def promote_at_once(config: Settings, model: str, number: str) -> Ledger:
    """Promote a version with all its effects, tables included, and end its bake at once.

    Args:
        config: Where the stack is.
        model: Registered model with a policy.
        number: Version; one that was taken back is promoted again.
    """
    with wiring.open_ports(config, _ACTOR) as opened:
        ports = replace(opened, trial=lambda _model, _version: "")
        request = wiring.promotion_request(config, model, number, "the next round", force=True)
        rollout = ""

        def ask() -> Ledger:
            nonlocal rollout
            rollout = open_promotion(ports, request)
            return ports.ledger(model)

        retry_on_conflict(ask)
        retry_on_conflict(_appending(ports, model, StageEntered(rollout, Stage.PROMOTING, 0, "no gate is asked")))
        drive_rollout(ports, model, until=lambda ledger: ledger.rollout is None or _bakes(ledger))
        return retry_on_conflict(_appending(ports, model, RolloutEnded(rollout, Stage.PROMOTED, "no bake")))


def _appending(ports: Ports, model: str, event: StageEntered | RolloutEnded) -> Callable[[], Ledger]:
    return lambda: ports.append(ports.ledger(model), event)


def _bakes(ledger: Ledger) -> bool:
    return ledger.rollout is not None and ledger.rollout.stage is Stage.BAKING
