"""abort, rollback and kill against a real gateway and journal, with MLflow and Prefect down, whatever is typed."""

import json
import os
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import GOOD

ROUNDS, EXAMPLES = 4, 50
"""200 reasons in all; each round has a journal of its own, which a long one would only slow down."""


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
