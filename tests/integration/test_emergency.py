"""abort, rollback and kill against a real gateway and journal, with MLflow and Prefect down, whatever is typed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal import SqlJournal
from surefoot.bootstrap import Settings
from surefoot.cli import main
from surefoot.core.events import ChampionAdopted, Event, RolloutOpened, SetSplit, StageEntered
from surefoot.core.model import Split, Stage
from surefoot.rollout import Ports
from surefoot.rollout.steps import intend
from tests.conftest import free_port
from tests.fakes import POLICY
from tests.integration.gateway_harness import BETTER, GOOD, Gateway, listening
from tests.integration.gateway_process import TOKEN, Models

MODEL = "flights"
ROUNDS, EXAMPLES = 4, 50
"""200 reasons in all; each round has a journal of its own, which a long one would only slow down."""


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
        self.champion, self.candidate = gateway.models.version(GOOD), gateway.models.version(BETTER)
        self._append(ChampionAdopted(self.champion))
        intend(self.ports, self.ports.ledger(MODEL), SetSplit(self.champion, None, 0.0))

    def _append(self, event: Event) -> None:
        self.ports.append(self.ports.ledger(MODEL), event)

    def ramp(self) -> None:
        """Open a rollout and give its candidate half of the units."""
        self.rollouts += 1
        name = f"rollout-{self.rollouts}"
        policy = {**POLICY, "model": MODEL}
        opened = RolloutOpened(
            name, "promotion", self.candidate, self.champion, policy, "", "", "salt", self.rollouts, "test"
        )
        self._append(opened)
        self._append(StageEntered(name, Stage.RAMPING, 0, "test"))
        self.gateway.traffic.lift()
        intend(self.ports, self.ports.ledger(MODEL), SetSplit(self.champion, self.candidate, 50.0))
        assert self.live().weight == 50.0

    def live(self) -> Split:
        """What the gateway serves."""
        live = self.gateway.traffic.live(MODEL)
        assert live is not None
        return live

    def command(self, *words: str) -> int:
        """Run a command in this process; its exit code."""
        before = sys.argv
        sys.argv = ["surefoot", *words]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            sys.argv = before
        raise AssertionError("main returns by SystemExit")


@pytest.fixture
def emergency(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emergency]:
    """An emergency about to happen."""
    with listening(tmp_path / "home" / "gateway", models) as gateway:
        made = Emergency(tmp_path / "home", gateway)
        monkeypatch.setenv("SUREFOOT_HOME", str(made.home))
        yield made
        made.journal.close()


REASONS = st.one_of(
    st.text(st.characters(codec=None, categories=None), max_size=4000),
    st.sampled_from(
        ["", " ", "-", "--", "-50 %", "--json is broken", "x" * 3000, "[red]", "{}", "\x1b[2J", "\udcff" * 3]
    ),
)


@pytest.mark.parametrize("round_", range(ROUNDS))
@hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(command=st.sampled_from(["abort", "rollback", "kill"]), reason=REASONS, quoted=st.booleans())
def test_every_emergency_command_acts_whatever_is_typed(
    emergency: Emergency, round_: int, command: str, reason: str, quoted: bool
) -> None:
    """With MLflow and Prefect down, 200 generated reasons stop no command: traffic is back and the journal says so."""
    emergency.ramp()
    target = [] if command == "kill" else [MODEL]
    words = [reason] if quoted else reason.split() or [""]
    hypothesis.assume(quoted or not any(word.startswith("-") for word in words))
    code = emergency.command(command, *target, "-m", *words)
    assert code == 0
    assert (emergency.live().weight, emergency.live().champion.number) == (0.0, GOOD)
    ledger = emergency.ports.ledger(MODEL)
    if command == "kill":
        assert ledger.rollout is not None
        assert ledger.rollout.ending is not None  # `reconcile` or `abort` brings it to its end
        assert emergency.command("abort", MODEL) == 0
        ledger = emergency.ports.ledger(MODEL)
    assert not ledger.open
    assert ledger.rollouts[f"rollout-{emergency.rollouts}"].reason


@pytest.mark.parametrize(
    "words",
    [
        ["rollback", MODEL, "-m"],
        ["rollback", MODEL, "--reason", b"\xff\xfe broken"],
        ["rollback", MODEL, "-m", "the", "build", "is", "broken"],
        ["abort", MODEL, "--reson", "typo"],
        ["kill", "-m"],
        ["kill", "-m", "y" * 100_000],
        ["kill", "--reason", b"caf\xe9"],
    ],
)
def test_the_real_command_acts_on_bytes_and_on_what_is_missing(emergency: Emergency, words: list[str | bytes]) -> None:
    """Bytes that are no UTF-8, a missing value, words without quotes and a misspelt option stop no command."""
    emergency.ramp()
    plain = {**os.environ, "SUREFOOT_HOME": str(emergency.home), "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-m", "surefoot", *words], env=plain, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert emergency.live().weight == 0.0


def test_a_dry_run_that_does_not_exist_is_not_taken_for_an_order(emergency: Emergency) -> None:
    """An option that asks for no action is refused instead of ignored."""
    emergency.ramp()
    assert emergency.command("kill", "--dry-run") == 2
    assert emergency.live().weight == 50.0


def test_without_a_journal_kill_still_cuts(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """With the journal gone `kill` cuts every candidate and says that it is in force; `rollback` names `kill`."""
    emergency.ramp()
    emergency.journal.close()
    path = emergency.home / "journal.db"
    path.rename(path.with_suffix(".away"))
    path.mkdir()  # no database can be opened here
    assert emergency.command("rollback", MODEL) == 4
    assert "'surefoot kill'" in capfd.readouterr().err
    assert emergency.command("kill", "--json") == 4
    told = capfd.readouterr()
    assert json.loads(told.out)["in_force"] is True
    assert "the switch is in force, but no rollout could be ended" in told.err
    assert emergency.live().weight == 0.0
    path.rmdir()
    path.with_suffix(".away").rename(path)
