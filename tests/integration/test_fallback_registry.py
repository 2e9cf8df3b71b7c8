"""A fallback that is an MLflow version: drilled and journalled, loaded by a real gateway, kept without MLflow."""

from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from surefoot import wiring
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.core.domain import Stage
from surefoot.core.errors import FallbackInvalid, RegistryUnavailable
from surefoot.core.fallback import FallbackReference
from surefoot.core.journal.events import RolloutOpened
from surefoot.rollout import (
    adopt_champion,
    check_fallback,
    drive_rollout,
    end_rollout,
    is_fallback_check_due,
    open_promotion,
)
from tests.conftest import free_port
from tests.integration.registry_stack import BROKEN, FAILING, GOOD, MODEL, ODD, QUITTING, ServedStack
from tests.integration.test_standby import said

FROM_VERSION = (200, "fallback", "pyfunc", None)
LOGGED = 5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Iterator[ServedStack]:
    """A gateway whose champion was adopted, and a few logged requests."""
    made = ServedStack(tmp_path_factory.mktemp("fallback"), mlflow_server)
    made.register()
    made.start()
    try:
        with wiring.open_ports(made.config, "test") as ports:
            adopt_champion(ports, MODEL)
        for number in range(LOGGED):
            assert made.ask(number / 10.0).status_code == 200
        yield made
    finally:
        made.close()


def test_a_rollout_resolves_drills_and_journals_the_version(stack: ServedStack) -> None:
    """Its digest stands in the journal; the gateway has it in a process of its own, for what no other can answer."""
    stack.policy(GOOD)
    assert stack.gateway is not None
    before = len(psutil.Process(stack.gateway.pid).children(recursive=True))
    assert stack.ask(3.0).status_code == 400
    with wiring.open_ports(stack.config, "test") as ports:
        rollout = open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test"))
        ledger = ports.ledger(MODEL)
        opened = ledger.rollouts[rollout].opened
        end_rollout(ports, MODEL, Stage.ABORTED, "a test")
        drive_rollout(ports, MODEL, until=lambda ledger: not ledger.open)
    digest = directory_digest(stack.folder(stack.base, GOOD))
    assert isinstance(opened, RolloutOpened)
    assert opened.fallback_digest == digest
    (drilled,) = stack.drills()
    assert (drilled.kind, drilled.digest, drilled.rows, drilled.problem) == ("pyfunc", digest, LOGGED, "")
    assert drilled.source == FallbackReference(stack.base, GOOD)
    stack.wait_for_fallback(GOOD)
    assert len(psutil.Process(stack.gateway.pid).children(recursive=True)) > before
    answer = stack.ask(3.0)
    assert (said(answer), answer.json()) == (FROM_VERSION, {"predictions": [[0.75, 0.25]]})
    assert said(stack.ask(1.0)) == (200, None, None, "1")
    told = stack.command("fallback", MODEL)
    assert told.returncode == 0
    assert f"pyfunc models:/{stack.base}/1; {digest}" in told.stdout
    assert f"fallback pyfunc models:/{stack.base}/1 was asked 5 logged rows: each answer will do" in told.stdout


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (FAILING, "of them: RuntimeError: no such tree"),
        (ODD, "it answers a number, and the champion answers a list of 2 numbers"),
    ],
)
def test_a_poor_version_is_told_before_it_is_needed(stack: ServedStack, number: str, problem: str) -> None:
    """A drill that fails is one line in command, journal and status; the version is the fallback even so."""
    stack.policy(number)
    told = stack.command("fallback", MODEL, "--drill")
    assert told.returncode == 1
    said_by_journal = stack.drills()[-1]
    assert problem in said_by_journal.problem
    assert "\n" not in said_by_journal.problem
    assert problem in told.stdout
    assert problem in stack.command("status", "--json").stdout
    stack.wait_for_fallback(number)


@pytest.mark.parametrize(
    ("number", "problem"),
    [(BROKEN, "cannot be loaded"), (QUITTING, "SystemExit: 3"), ("99", "has no version 99")],
)
def test_a_version_that_cannot_be_loaded_is_refused(stack: ServedStack, number: str, problem: str) -> None:
    """`plan`, the command and a promotion say it in one line; nothing is opened, and the gateway keeps what it has."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        check_fallback(ports, MODEL)
        stack.wait_for_fallback(GOOD)
        stack.policy(number)
        head = ports.ledger(MODEL).head
        with pytest.raises(FallbackInvalid, match=problem) as refused:
            open_promotion(ports, wiring.promotion_request(stack.config, MODEL, "2", "a test", force=True))
        assert "\n" not in str(refused.value)
        assert ports.ledger(MODEL).head == head
        found = check_fallback(ports, MODEL)
        ledger = ports.ledger(MODEL)
    assert found is not None
    assert found.is_unusable
    assert problem in found.problem
    assert ledger.fallback is not None
    assert ledger.fallback.version.number == GOOD
    assert said(stack.ask(3.0)) == FROM_VERSION
    told = stack.command("plan", MODEL, "2")
    assert told.returncode == 2
    assert problem in told.stdout + told.stderr


def test_without_mlflow_the_fallback_answers_and_a_drill_waits(stack: ServedStack) -> None:
    """A gateway that is started again loads it from its own copy; the outage is no fault of the fallback."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        check_fallback(ports, MODEL)
    stack.wait_for_fallback(GOOD)
    drills = len(stack.drills())
    stack.stop()
    known = stack.config
    stack.config = replace(known, mlflow=f"http://127.0.0.1:{free_port()}")
    stack.config.save()
    try:
        stack.start()
        stack.wait_for_fallback(GOOD)
        assert said(stack.ask(3.0)) == FROM_VERSION
        with wiring.open_ports(stack.config, "test", 1.0) as ports, pytest.raises(RegistryUnavailable):
            check_fallback(ports, MODEL)
        assert len(stack.drills()) == drills
    finally:
        stack.config = known
        known.save()


def test_another_version_in_the_policy_is_drilled_at_once(stack: ServedStack) -> None:
    """A drill is due when the policy names another version than the last drill, and a day after that."""
    stack.policy(GOOD)
    with wiring.open_ports(stack.config, "test") as ports:
        check_fallback(ports, MODEL)
        ledger = ports.ledger(MODEL)
    assert ledger.drilled is not None
    at = ledger.drilled[1]
    same = FallbackReference(stack.base, GOOD)
    assert not is_fallback_check_due(ledger, at + 1.0, same)
    assert is_fallback_check_due(ledger, at + 1.0, FallbackReference(stack.base, ODD))
    assert is_fallback_check_due(ledger, at + 86400.0, same)
