"""abort, rollback and kill against a real gateway and journal, with MLflow and Prefect down, whatever is typed."""

import itertools
import json
import os
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from surefoot.core.domain import Stage
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import GOOD
from tests.sweeps import EVERYTHING, in_turns

ROUNDS, EXAMPLES = 10, 20 if EVERYTHING else 5
"""200 reasons in a whole sweep, 50 others each time; each round has a journal of its own, for a long one is slow."""


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
    """With MLflow and Prefect down, no generated reason stops a command: traffic is back and the journal says so."""
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
    in_turns(
        [
            ["rollback", MODEL, "-m"],
            ["rollback", MODEL, "--reason", b"\xff\xfe broken"],
            ["rollback", MODEL, "-m", "the", "build", "is", "broken"],
            ["abort", MODEL, "--reson", "typo"],
            ["kill", "-m"],
            ["kill", "-m", "y" * 100_000],
            ["kill", "--reason", b"caf\xe9"],
        ],
        lambda words: words in (["kill", "-m"], ["abort", MODEL, "--reson", "typo"]) or b"\xff\xfe broken" in words,
    ),
)
def test_the_real_command_acts_on_bytes_and_on_what_is_missing(emergency: Emergency, words: list[str | bytes]) -> None:
    """Bytes that are no UTF-8, a missing value, words without quotes and a misspelt option stop no command."""
    emergency.ramp()
    plain = {**os.environ, "SUREFOOT_HOME": str(emergency.home), "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-m", "surefoot", *words], env=plain, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert emergency.live().weight == 0.0


ALWAYS = {("abort", "closed"), ("rollback", "no reader"), ("kill", "full disk")}
"""Each command and each output once: the other pairs have their turn."""
OUTPUTS = {"full disk": "> /dev/full 2>&1", "no reader": "2>&1 | true", "closed": ">&- 2>&-"}


@pytest.mark.parametrize(
    ("command", "output"),
    in_turns(itertools.product(("abort", "rollback", "kill"), OUTPUTS), lambda pair: pair in ALWAYS),
)
def test_output_that_cannot_be_written_stops_no_command(emergency: Emergency, command: str, output: str) -> None:
    """A full disk, a pager that has ended and a closed output change nothing: traffic is back, the rollout ends."""
    emergency.ramp()
    target = "" if command == "kill" else MODEL
    plain = {**os.environ, "SUREFOOT_HOME": str(emergency.home)}
    line = f"set -o pipefail; {sys.executable} -m surefoot {command} {target} -m 'latency doubled' {OUTPUTS[output]}"
    done = subprocess.run(["bash", "-c", line], env=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert emergency.live().weight == 0.0
    rollout = emergency.ports.ledger(MODEL).rollout
    assert rollout is None or rollout.ending is not None


def test_a_connection_that_breaks_stops_no_command(emergency: Emergency) -> None:
    """A hang-up while the command acts is ignored, as when the operator's connection is lost."""
    emergency.ramp()
    plain = {**os.environ, "SUREFOOT_HOME": str(emergency.home)}
    script = f"import os, signal, sys; sys.argv = ['surefoot', 'rollback', {MODEL!r}]; from surefoot import cli"
    script += "; import surefoot.cli.emergency as o; real = o.drive_rollout"
    script += "; o.drive_rollout = lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), real(*a, **k))[1]; cli.main()"
    done = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert emergency.live().weight == 0.0


@pytest.mark.parametrize(
    "words",
    [
        ["kill", "--dry run was wrong"],
        ["kill", "--", "--no-wonder", "it", "failed"],
        ["kill", "--json=1", "-m", "x"],
        ["rollback", MODEL, "--json=yes"],
        ["abort", MODEL, "--", "--dry-run"],
        ["abort", MODEL, "--now"],
        ["rollback", MODEL, "--now=1", "--stepped=no"],
    ],
)
def test_words_that_look_like_options_stop_no_command(emergency: Emergency, words: list[str]) -> None:
    """A sentence that begins like an option, words after `--`, and a flag with a value are no reason not to act."""
    emergency.ramp()
    assert emergency.command(*words) == 0
    assert emergency.live().weight == 0.0


def test_help_is_no_order(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """`-h` asks for help wherever it stands, and nothing is cut."""
    emergency.ramp()
    for words in (["kill", "-h"], ["kill", "all", "-h"], ["rollback", MODEL, "--help"]):
        assert emergency.command(*words) == 0
        assert "Usage" in capfd.readouterr().out
    assert emergency.live().weight == 50.0


@pytest.mark.parametrize("command", ["abort", "rollback"])
def test_a_misspelt_model_is_named(emergency: Emergency, capfd: pytest.CaptureFixture[str], command: str) -> None:
    """A model that the journal does not hold is said, with the one that was perhaps meant."""
    assert emergency.command(command, MODEL.title()) == 2
    said = f"surefoot: the journal holds nothing of Flights; did you mean {MODEL}?; known: {MODEL}\n"
    assert capfd.readouterr().err == said


def test_a_dry_run_that_does_not_exist_is_not_taken_for_an_order(emergency: Emergency) -> None:
    """An option that asks for no action is refused instead of ignored."""
    emergency.ramp()
    assert emergency.command("kill", "--dry-run") == 2
    assert emergency.live().weight == 50.0


@pytest.mark.parametrize("words", [("abort", MODEL), ("rollback", MODEL), ("kill",)], ids=lambda words: words[0])
def test_what_is_mirrored_is_ended_too(emergency: Emergency, words: tuple[str, ...]) -> None:
    """Abort, rollback and the kill switch end a live shadow, whose rollout is aborted: no caller had its answers."""
    emergency.mirror()
    assert emergency.command(*words) == 0
    live = emergency.live()
    assert (live.champion, live.candidate or emergency.candidate, live.mirror) == (
        emergency.champion,
        emergency.candidate,
        0.0,
    )
    ledger = emergency.ports.ledger(MODEL)
    rollout = tuple(ledger.rollouts.values())[-1]
    assert (rollout.ending and rollout.ending.terminal_stage) is Stage.ABORTED


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
