"""Journal a promotion whose candidate has a share of the traffic, on the engine that a policy names."""

from pathlib import Path
from typing import Any

import yaml

from surefoot import wiring
from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.journal.events import ChampionAdopted, RolloutOpened, SetSplit, StageEntered
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.parse import parse_policy
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.core.serving_engines.engine_choice import EngineChosen
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from surefoot.settings import Settings


def open_ramping_rollout(config: Settings, root: Path, policy: dict[str, Any], old: Version, new: Version) -> Ledger:
    """Write the policy, adopt the old version, and give the new one a quarter of the traffic in a ramp.

    Args:
        config: Where the journal is.
        root: Folder of the project.
        policy: The policy of the model.
        old: The champion.
        new: The candidate.
    """
    model = str(policy["model"])
    (root / "configs").mkdir()
    (root / "configs" / f"{model}.yaml").write_text(yaml.safe_dump(policy))
    choice = parse_policy(policy).traffic.engine_choice
    with wiring.open_ports(config, "test") as ports:
        ledger = ports.ledger(model)
        for event in (EngineChosen(choice.name, choice.settings, EngineName.GATEWAY), ChampionAdopted(old)):
            ledger = ports.append(ledger, event)
        ledger = journal_and_apply_effect(ports, ledger, SetSplit(old, None, 0.0))
        opened = RolloutOpened("r1", RolloutKind.PROMOTION, new, old, policy, "", "", "salt", 1, "a test")
        for step in (opened, StageEntered("r1", Stage.RAMPING, 0, "a test")):
            ledger = ports.append(ledger, step)
        return journal_and_apply_effect(ports, ledger, SetSplit(old, new, 25.0))
