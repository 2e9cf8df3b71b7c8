"""A stepped rollback by the real commands, a real gateway and a journal under load, with MLflow and Prefect down."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.errors import RegistryUnavailable
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
    decode_event,
)
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.rollback.stepped_rollback import is_rolling_back_in_steps
from surefoot.rollout import Ports, drive_rollout, open_rollback
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from tests.fakes import POLICY
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER, GOOD, ROW
from tests.integration.waiting import wait_for
from tests.sweeps import in_turns

WITHOUT_REGISTRY = 4
"""Exit code of a rollback whose traffic is back and whose aliases have to wait."""


def promote(emergency: Emergency, hold: str = "2s", **more: object) -> None:
    """Promote version 2 under a policy whose rollback goes by two steps of this length."""
    rollback = {"mode": "stepped", "steps": [10, 50], "hold": hold, **more}
    policy = {**POLICY, "model": MODEL, "unit": "unit", "rollback": rollback}
    new, old = emergency.candidate, emergency.champion
    emergency.append(RolloutOpened("up", RolloutKind.PROMOTION, new, old, policy, "", "", "salt", 1, "test"))
    emergency.append(StageEntered("up", Stage.PROMOTING, 0, "test"))
    journal_and_apply_effect(emergency.ports, emergency.ports.ledger(MODEL), SetSplit(new, None, 0.0))
    emergency.append(RolloutEnded("up", Stage.PROMOTED, "test"))


def last(emergency: Emergency) -> Rollout:
    """The rollout that was opened last."""
    return list(emergency.ports.ledger(MODEL).rollouts.values())[-1]


def stepping(emergency: Emergency) -> bool:
    """Whether a weight of the rollback is in force."""
    ledger = emergency.ports.ledger(MODEL)
    return ledger.rollout is not None and bool(ledger.rollout.done) and is_rolling_back_in_steps(ledger, ledger.rollout)


@contextmanager
def load(emergency: Emergency) -> Iterator[Counter[tuple[int, str]]]:
    """Ask for one row after the other, each of another unit; counts (status, version) of the answers."""
    found: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        number = 0
        while not over.is_set():
            number += 1
            answer = emergency.gateway.ask(unit=f"N{number}")
            found[answer.status_code, answer.headers.get("x-surefoot-version", "")] += 1

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield found
    finally:
        over.set()
        caller.join()


def test_callers_see_no_error_while_traffic_goes_back_by_steps(emergency: Emergency) -> None:
    """Each weight is held and judged in the journal, and every request is answered."""
    promote(emergency)
    with load(emergency) as found:
        assert emergency.command("rollback", MODEL, "-m", "latency doubled") == WITHOUT_REGISTRY
    assert {status for status, _ in found} == {200}
    assert {10.0, 50.0} <= {record["weight"] for record in emergency.gateway.records()}
    live = emergency.live()
    assert (live.champion.number, live.candidate) == (GOOD, None)
    entries = emergency.journal.read(MODEL)
    moves = [decode_event(entry.kind, entry.data) for entry in entries]
    splits = [move.effect for move in moves if isinstance(move, EffectIntended)]
    shares = [split.weight for split in splits if isinstance(split, SetSplit)]
    assert shares[-3:] == [10.0, 50.0, 0.0]
    judged = {(one.step, one.verdict.gate) for one in moves if isinstance(one, GateJudged)}
    assert judged == {(0, "errors"), (1, "errors")}


def test_abort_in_the_middle_leaves_the_version_that_serves(emergency: Emergency) -> None:
    """`abort` exits with 0 and says Aborted; the rollback that was under way exits with 1 and says what serves."""
    promote(emergency, "1h")
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    assert emergency.command("abort", MODEL, "-m", "not that") == 0
    said, _ = running.communicate()
    assert running.returncode == 1
    assert f"not rolled back: version {BETTER} of {MODEL} serves on" in said
    assert last(emergency).stage is Stage.ABORTED
    assert (emergency.live().champion.number, emergency.live().candidate) == (BETTER, None)


def test_now_in_another_shell_finishes_the_steps(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """`rollback --now` moves all traffic of a rollback that is stepping, however its flag is written."""
    promote(emergency, "1h")
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    capfd.readouterr()
    emergency.command("status", MODEL, "--json")
    shown = json.loads(capfd.readouterr().out)["models"][0]["rollout"]
    assert (shown["step"], shown["stepped"]["weights"]) == (0, [10.0, 50.0])
    began = time.monotonic()
    assert emergency.command("rollback", MODEL, "--now=yes") == WITHOUT_REGISTRY
    assert time.monotonic() - began < 3600.0
    running.communicate()
    assert running.returncode == WITHOUT_REGISTRY
    assert (emergency.live().champion.number, emergency.live().candidate) == (GOOD, None)


def test_a_command_that_was_killed_is_taken_up_by_the_next_one(emergency: Emergency) -> None:
    """After SIGKILL at a weight, two commands at once bring the same rollback to its end, with the same exit code."""
    promote(emergency, "4s")
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    running.kill()
    running.communicate()
    assert emergency.live().weight == 10.0
    both = [emergency.start("rollback", MODEL) for _ in range(2)]
    for one in both:
        one.communicate()
    assert [one.returncode for one in both] == [WITHOUT_REGISTRY, WITHOUT_REGISTRY]
    assert (emergency.live().champion.number, emergency.live().candidate) == (GOOD, None)
    opened = [entry for entry in emergency.journal.read(MODEL) if entry.kind == "RolloutOpened"]
    assert len(opened) == 2


@pytest.mark.parametrize("marked", in_turns([True, False], lambda marked: marked))
def test_kill_in_the_middle_gives_everything_to_the_target_at_once(
    emergency: Emergency, monkeypatch: pytest.MonkeyPatch, *, marked: bool
) -> None:
    """`kill` ends with the proven-good version serving, whether or not the gateway knew that it is the way back."""
    promote(emergency, "1h")
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    if not marked:
        emergency.gateway.traffic.set_standby(MODEL, emergency.live().generation, None)
    assert emergency.command("kill", "-m", "enough") == 0
    assert (emergency.live().champion.number, emergency.live().candidate) == (GOOD, None)
    running.communicate()
    assert running.returncode == WITHOUT_REGISTRY
    assert (emergency.live().champion.number, emergency.live().candidate) == (GOOD, None)
    emergency.gateway.traffic.lift_kill_switch()


def test_kill_leaves_the_registry_to_the_command_that_began_the_steps(
    emergency: Emergency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once traffic is back `kill` is done, also where the other command has come to a registry that is down."""
    promote(emergency, "1h")
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    running.kill()

    def race(ports: Ports, model: str, why: str, *, mode: str) -> Ledger:
        ledger = open_rollback(ports, model, why, mode=mode)
        with contextlib.suppress(RegistryUnavailable):  # what the other command would do before this one looks again
            drive_rollout(ports, model, until=lambda seen: not seen.open, patience=0.1)
        assert ports.ledger(model).intent
        return ledger

    monkeypatch.setattr("surefoot.cli.emergency.open_rollback", race)
    assert emergency.command("kill", "-m", "enough") == 0
    assert (emergency.live().champion.number, emergency.live().candidate) == (GOOD, None)


@contextmanager
def crowd(emergency: Emergency, callers: int = 32) -> Iterator[Counter[int]]:
    """Have many callers ask at once, each request for another unit; counts the statuses of the answers."""
    found: Counter[int] = Counter()
    over, numbers = threading.Event(), itertools.count()

    def ask() -> None:
        # A connection of its own for each caller: the shared client's pool is not for threads that end at once.
        host = emergency.gateway.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=60.0)) as connection:
            while not over.is_set():
                body = json.dumps({"dataframe_records": [{**ROW, "unit": f"N{next(numbers)}"}]})
                connection.request("POST", f"/models/{MODEL}/invocations", body)
                answer = connection.getresponse()
                answer.read()
                found[answer.status] += 1

    with ThreadPoolExecutor(callers) as pool:
        asking = [pool.submit(ask) for _ in range(callers)]
        try:
            yield found
        finally:
            over.set()
            for one in asking:
                one.result()


def unload_target(emergency: Emergency) -> None:
    """Unload the version that a rollback goes to, as outside of its window."""
    emergency.gateway.traffic.set_standby(MODEL, emergency.live().generation, None)

    def is_cold() -> bool:
        counts: Any = emergency.gateway.traffic.stats(MODEL)
        return "row_wise" not in counts["versions"].get(GOOD, {})

    wait_for(is_cold)


@pytest.mark.parametrize("story", in_turns(["to its end", "aborted", "killed"], lambda story: story == "to its end"))
def test_no_caller_fails_while_a_cold_target_takes_its_share(emergency: Emergency, story: str) -> None:
    """Thirty-two callers at once: the target is loaded before it is asked, each step has its gate and its time."""
    promote(emergency, "3s")
    unload_target(emergency)
    with crowd(emergency) as found:
        running = emergency.start("rollback", MODEL)
        wait_for(lambda: stepping(emergency))
        if story == "aborted":
            assert emergency.command("abort", MODEL, "-m", "not that") == 0
        elif story == "killed":
            running.kill()
        running.communicate()
        if story == "killed":
            assert emergency.command("rollback", MODEL) == WITHOUT_REGISTRY
    assert set(found) == {200}
    served = BETTER if story == "aborted" else GOOD
    assert (emergency.live().champion.number, emergency.live().candidate) == (served, None)
    entries = emergency.journal.read(MODEL)
    events = [decode_event(entry.kind, entry.data) for entry in entries]
    intents = {entry.seq: event.effect for entry, event in zip(entries, events, strict=True)
               if isinstance(event, EffectIntended)}  # fmt: skip
    took = {
        (effect.candidate.number, effect.weight): event.took_ms
        for event in events
        if isinstance(event, EffectDone)
        and isinstance(effect := intents[event.intent], SetSplit)
        and effect.candidate is not None
    }
    steps = {(GOOD, 10.0)} if story == "aborted" else {(GOOD, 10.0), (GOOD, 50.0)}
    assert steps <= took.keys()
    judged = {event.step for event in events if isinstance(event, GateJudged)}
    assert judged >= (set() if story == "aborted" else {0, 1})


def test_listed_units_are_answered_by_the_good_version_first(emergency: Emergency) -> None:
    """From the first step on they are, however requests write them; the log says that none of them was drawn."""
    promote(emergency, "1h", cohort={"units": ["N7", 4711], "hold": "1h"})
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    assert emergency.live().units == ("N7", "4711")
    for unit in ("N7", 4711, 4711.0, "4711"):
        assert emergency.gateway.ask(unit=unit).headers["x-model-version"] == GOOD
    others = [emergency.gateway.ask(unit=f"N{number}") for number in range(100, 140)]
    assert Counter(answer.headers["x-model-version"] for answer in others)[BETTER] >= 35
    weights = {record["unit"]: record["weight"] for record in emergency.gateway.records()}
    assert (weights["N7"], weights["4711"], weights["N100"]) == (100.0, 100.0, 0.1)
    assert emergency.command("kill", "-m", "at once") == 0  # traffic goes back to the good version, for all units
    assert emergency.command("rollback", MODEL, "--now") == WITHOUT_REGISTRY
    running.communicate()
    assert (emergency.live().champion.number, emergency.live().units) == (GOOD, ())


@pytest.mark.sweep
def test_an_abort_takes_the_listed_units_along(emergency: Emergency) -> None:
    """Then the version that serves answers them as well."""
    promote(emergency, "1h", cohort={"units": ["N7"], "hold": "1h"})
    running = emergency.start("rollback", MODEL)
    wait_for(lambda: stepping(emergency))
    assert emergency.command("abort", MODEL) == 0
    running.communicate()
    assert emergency.gateway.ask(unit="N7").headers["x-model-version"] == BETTER
