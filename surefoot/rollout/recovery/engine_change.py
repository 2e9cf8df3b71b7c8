"""Record in the journal that a model changes to another serving engine."""

from surefoot.core.journal.ledger import Ledger
from surefoot.core.serving_engines.engine_choice import EngineChoice, EngineChosen
from surefoot.rollout.ports import Ports
from surefoot.rollout.recovery.live_drill import has_live_drill_route


def record_engine_change(ports: Ports, ledger: Ledger, wanted: EngineChoice | None) -> Ledger:
    """Journal that another engine serves from now on; an open rollout, a change and a live drill are finished first."""
    if wanted is None or wanted == ledger.engine or ledger.open or ledger.intent or has_live_drill_route(ledger):
        return ledger
    return ports.append(ledger, EngineChosen(wanted.name, wanted.settings, ledger.engine.name))
