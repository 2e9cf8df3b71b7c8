"""A stack of which only the gateway and the journal are there, for the commands that need nothing else."""

import os
from dataclasses import replace
from pathlib import Path

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.domain import RolloutKind, Split, Stage
from surefoot.core.journal.events import ChampionAdopted, Event, RolloutOpened, SetSplit, StageEntered
from surefoot.rollout import Ports
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from surefoot.settings import Settings
from tests.command_here import command_exit_code
from tests.commands import RunningCommand
from tests.conftest import free_port
from tests.fakes import MIRRORED, POLICY
from tests.integration.gateway_harness import BETTER, GOOD, Gateway
from tests.integration.gateway_process import TOKEN

MODEL = "flights"


class Emergency:
    """A stack of which only the gateway and the journal are there, with a candidate that has half of the units."""

    def __init__(self, home: Path, gateway: Gateway) -> None:
        self.home, self.gateway = home, gateway
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(home, home, dead, dead, gateway.url, TOKEN)
        self.config.save()
        self.journal = SqlJournal(self.config.journal_url, SystemClock())
        self.ports = Ports(self.journal, None, gateway.traffic, None, SystemClock(), "test")  # type: ignore[arg-type]
        self.rollouts = 0
        self._started: list[RunningCommand] = []
        self.champion, self.candidate = gateway.models.version(GOOD), gateway.models.version(BETTER)
        self.append(ChampionAdopted(self.champion))
        journal_and_apply_effect(self.ports, self.ports.ledger(MODEL), SetSplit(self.champion, None, 0.0))

    def start(self, *words: str) -> RunningCommand:
        """Run a command in a process of its own, which ends with the test at the latest."""
        running = RunningCommand(words, {**os.environ, "SUREFOOT_HOME": str(self.home), "COLUMNS": "300"})
        self._started.append(running)
        return running

    def close(self) -> None:
        """End what was started: a test that fails must not leave it to the next one."""
        for running in self._started:
            running.kill()
            running.communicate()
        self.journal.close()

    def append(self, event: Event) -> None:
        """Journal one event."""
        self.ports.append(self.ports.ledger(MODEL), event)

    def ramp(self) -> None:
        """Open a rollout and give its candidate half of the units."""
        self.rollouts += 1
        name = f"rollout-{self.rollouts}"
        policy = {**POLICY, "model": MODEL}
        opened = RolloutOpened(
            name, RolloutKind.PROMOTION, self.candidate, self.champion, policy, "", "", "salt", self.rollouts, "test"
        )
        self.append(opened)
        self.append(StageEntered(name, Stage.RAMPING, 0, "test"))
        self.gateway.traffic.lift_kill_switch()
        journal_and_apply_effect(self.ports, self.ports.ledger(MODEL), SetSplit(self.champion, self.candidate, 50.0))
        assert self.live().weight == 50.0

    def mirror(self) -> None:
        """Open a rollout and mirror a fifth of the requests to its candidate."""
        self.rollouts += 1
        name = f"rollout-{self.rollouts}"
        opened = RolloutOpened(
            name,
            RolloutKind.PROMOTION,
            self.candidate,
            self.champion,
            {**MIRRORED, "model": MODEL},
            "",
            "",
            "salt",
            self.rollouts,
            "test",
        )
        self.append(opened)
        self.append(StageEntered(name, Stage.LIVE_SHADOWING, 0, "test"))
        self.gateway.traffic.lift_kill_switch()
        journal_and_apply_effect(
            self.ports, self.ports.ledger(MODEL), SetSplit(self.champion, self.candidate, 0.0, 20.0)
        )
        assert self.live().mirror == 20.0

    def processes(self, known: dict[str, tuple[int, float]]) -> None:
        """Have the stack's file name these processes."""
        self.config = replace(self.config, processes=known)
        self.config.save()

    def live(self) -> Split:
        """What the gateway serves."""
        live = self.gateway.traffic.live(MODEL)
        assert live is not None
        return live

    def command(self, *words: str) -> int:
        """Run a command in this process; its exit code."""
        return command_exit_code(*words)
