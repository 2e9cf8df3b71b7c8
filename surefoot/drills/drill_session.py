"""Prepare a session of rollback drills, with a copy of production at each rollout stage."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from surefoot.core.drills.drill_faults import DrillFault
from surefoot.core.errors import Rejected, Unavailable
from surefoot.drills.fault_plans import FaultPlan, TrafficFacts, choose_fault_plan
from surefoot.drills.misbehaviour import TypicalInputs
from surefoot.drills.registration_request import TYPICAL_INPUTS_FILE, RegistrationRequest
from surefoot.drills.run_drill import DrillOutcome, run_single_drill
from surefoot.drills.staging_twin import make_twin
from surefoot.drills.tabletop import Tabletop
from surefoot.drills.twin_sources import TwinSource, find_twin_source
from surefoot.drills.twin_stages import TwinStage, TwinStageBuilder
from surefoot.settings import Settings

_SAMPLE = 5000
"""Requests from which plans are chosen [count]."""
_Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrillSession:
    """Twins in every stage of a promotion, ready to be copied for each drill.

    Attributes:
        source: What the twins are made from.
        folder: Folder of all their state.
        stages: The stages.
        traffic: Requests of the twins.
        facts: What plans are chosen from.
    """

    source: TwinSource
    folder: Path
    stages: list[TwinStage]
    traffic: pd.DataFrame
    facts: TrafficFacts

    def plan(self, fault: DrillFault, seed: str) -> FaultPlan:
        """What happens in a drill; the same for the same seed."""
        return choose_fault_plan(fault, self.facts, seed)

    def play(
        self, plan: FaultPlan, name: str, tell: _Tell, person: Tabletop | None = None, *, keep: bool = False
    ) -> DrillOutcome:
        """Play one drill.

        Args:
            plan: What happens.
            name: Name of its folder.
            tell: Is told each step, in a few words.
            person: Who decides, in a tabletop drill.
            keep: Whether its folder stays.
        """
        folder = self.folder / name
        try:
            return run_single_drill(self.stages[plan.stage], plan, self.traffic, folder, tell, person)
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_drill_session(
    config: Settings | None, project: Path, model: str, cache: Path, tell: _Tell, *, keep: bool = False
) -> Iterator[DrillSession]:
    """Prepare the twins in a temporary folder, which is removed at the end.

    Args:
        config: Where production is; None where no stack was ever started here.
        project: Folder of configs/ and expectations/ where there is no stack.
        model: Registered model.
        cache: Folder for what later drills use again.
        tell: Is told each step, in a few words.
        keep: Whether the folder stays.

    Raises:
        Rejected: No twin can be made of this model.
        Unavailable: A good version was not promoted in the twin.
    """
    folder = Path(tempfile.mkdtemp(prefix="surefoot-drill-"))
    try:
        yield prepare_drill_session(find_twin_source(config, project, model, folder), folder, cache, tell)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def prepare_drill_session(source: TwinSource, folder: Path, cache: Path, tell: _Tell) -> DrillSession:
    """Register the versions, promote one in a twin, and keep a copy of each stage.

    Args:
        source: What the twins are made from.
        folder: Folder of all their state.
        cache: Folder for what later drills use again.
        tell: Is told each step, in a few words.
    """
    base = make_twin(folder / "base", source.project, source.model)
    tell("preparing the versions of the twin")
    cache.mkdir(parents=True, exist_ok=True)
    order = RegistrationRequest(
        source.model, base.config.mlflow, str(folder / "versions"), source.good, str(source.traffic), str(cache)
    )
    _register(order, folder / "versions.log")
    traffic = pd.read_parquet(source.traffic)
    stages = TwinStageBuilder(folder, source.project, source.model, source.policy, traffic, tell).build(base)
    facts = TrafficFacts(
        _read_usual(folder / "versions" / TYPICAL_INPUTS_FILE), traffic.head(_SAMPLE), source.groups, len(stages)
    )
    return DrillSession(source, folder, stages, traffic, facts)


def _register(order: RegistrationRequest, log: Path) -> None:
    """Register both versions in a process of its own: this one loads no model."""
    command = [sys.executable, "-m", "surefoot.drills.twin_versions", order.as_text()]
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        if last.startswith("surefoot: "):
            raise Rejected(last.removeprefix("surefoot: "))
        raise Unavailable(f"the versions of the twin could not be prepared: {last[:200]}")


def _read_usual(file: Path) -> TypicalInputs:
    plain = json.loads(file.read_text(encoding="utf-8"))
    numbers = {name: (float(low), float(high)) for name, (low, high) in plain["numbers"].items()}
    texts = {name: tuple(values) for name, values in plain["texts"].items()}
    return TypicalInputs(**{**plain, "numbers": numbers, "texts": texts})
