"""Promote a version in a twin (a copy of production for drills), and save the twin at each stage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from surefoot import wiring
from surefoot.core.domain import Stage
from surefoot.core.errors import Unavailable
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Policy
from surefoot.drills.registration_request import FAULTY
from surefoot.drills.staging_twin import StagingTwin
from surefoot.drills.twin_callers import TwinCallers
from surefoot.rollout import Ports, adopt_champions, drive_rollout, open_promotion

_CHUNK = 150
"""Requests between two looks [count]."""
_MOST_REQUESTS = 60_000
"""A promotion that takes more requests than this is given up [count]."""
_STARTS_WITH = 1.1
"""Requests before the promotion, in times of those that the shadow stage needs: labels of the last come later."""


@dataclass(frozen=True, slots=True)
class TwinStage:
    """A stopped twin, saved at one stage of a promotion.

    Attributes:
        name: Such as "ramp 5 %" or "bake".
        weight: Share of the requests that the candidate answers [percent].
        twin: The twin.
        place: Requests that were sent before [count].
    """

    name: str
    weight: float
    twin: StagingTwin
    place: int


@dataclass
class TwinStageBuilder:
    """Builds a twin, promotes the candidate in it, and keeps a copy of each stage.

    Attributes:
        folder: Folder of all twins.
        project: Folder of configs/ and expectations/.
        model: Registered model.
        policy: Its policy.
        traffic: Requests of the twins.
        report: Is told what is done, in a few words.
    """

    folder: Path
    project: Path
    model: str
    policy: Policy
    traffic: pd.DataFrame
    report: Callable[[str], None]
    stages: list[TwinStage] = field(default_factory=list)

    def build(self, base: StagingTwin) -> list[TwinStage]:
        """Promote version 2 in a twin up to its bake; a copy for each step of the ramp, and one for the bake.

        Raises:
            Unavailable: The version was not promoted; the reason is that of its rollout.
        """
        base.clock.set(float(self.traffic["at"].iloc[0]))
        base.start()
        callers = TwinCallers(base, self.traffic)
        try:
            with base.ports() as ports:
                self._promote(base, ports, callers)
        finally:
            callers.close()
            base.stop()
        return self.stages

    def _promote(self, base: StagingTwin, ports: Ports, callers: TwinCallers) -> None:
        said = adopt_champions(ports, [self.model])[self.model]
        if ports.ledger(self.model).champion is None:
            raise Unavailable(f"the twin of {self.model} cannot serve its champion: {said}")
        shadow = self.policy.shadow.min_requests if self.policy.shadow else 0
        before = max(int(_STARTS_WITH * shadow), 4 * _CHUNK)
        while callers.place < before:
            callers.send(min(_CHUNK * 4, before - callers.place))
            self.report(f"{callers.place:,} of {before:,} requests before the promotion")
        open_promotion(ports, wiring.promotion_request(base.config, self.model, FAULTY, "drill"))
        while callers.place < _MOST_REQUESTS:
            ledger = drive_rollout(ports, self.model, until=lambda now: not now.open, wait=False)
            if not ledger.open or ledger.rollout is None or ledger.rollout.paused:
                reason = list(ledger.rollouts.values())[-1].reason
                raise Unavailable(f"the twin of {self.model} does not promote a good version: {reason}")
            self.report(f"{ledger.rollout.stage} after {callers.place:,} requests")
            name = _stage_name(ledger)
            if name and all(one.name != name for one in self.stages):
                self._keep(base, name, ledger, callers.place)
            if ledger.rollout.stage is Stage.BAKING:
                return
            callers.send(_CHUNK)
        raise Unavailable(f"the twin of {self.model} has not promoted a good version after {callers.place:,} requests")

    def _keep(self, base: StagingTwin, name: str, ledger: Ledger, place: int) -> None:
        weight = ledger.split.weight if ledger.split and ledger.split.candidate else 100.0
        twin = base.copy_to(self.folder / f"stage-{len(self.stages)}")
        self.stages.append(TwinStage(name, weight, twin, place))


def _stage_name(ledger: Ledger) -> str:
    """What the stage of a rollout is called, where callers get answers of the candidate; empty elsewhere."""
    if ledger.rollout is None:
        return ""
    if ledger.rollout.stage is Stage.BAKING:
        return "bake"
    split = ledger.split
    ramping = ledger.rollout.stage is Stage.RAMPING and split is not None and split.candidate is not None
    return f"ramp {split.weight:g} %" if ramping and split is not None and split.weight else ""
