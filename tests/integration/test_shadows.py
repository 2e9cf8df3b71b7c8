"""A shadow sees what callers asked; whatever becomes of it, callers do not."""

import json
import os
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd
import pytest

from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from tests.integration.gateway_harness import BETTER, GOOD, RAISING, Gateway, listening, save_pyfunc
from tests.integration.gateway_process import Models
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.waiting import ended, wait_for
from tests.sweeps import in_turns

HANGS, EXITS = "21", "22"
CALLERS_Y = 2.125
"""Value of a column that tells callers' rows from those that a model is warmed with and probed with."""


def hangs(frame: pd.DataFrame) -> object:
    """Never come back from a caller's row."""
    if (frame["y"] == CALLERS_Y).any():
        time.sleep(600)
    return frame["x"]


def exits(frame: pd.DataFrame) -> object:
    """End the process without a word."""
    if (frame["x"] == 0.0).all():  # the row that it is warmed with
        return frame["x"]
    os._exit(7)


@pytest.fixture(scope="module")
def hosted(models: Models) -> Iterator[ForkedModels]:
    """Good models and bad shadows, each in a process of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        for number, answer in ((HANGS, hangs), (EXITS, exits)):
            if not (models.root / number).exists():
                save_pyfunc(models.root / number, answer)
    with running_forkserver() as forkserver:
        yield ForkedModels(models.root, forkserver)


def mirror(gateway: Gateway, shadow: str | None, share: float = 100.0, generation: int = 1) -> None:
    """Mirror a share of the requests to a version."""
    split = gateway.split(0, shadow, generation=generation)
    gateway.traffic.shift("flights", replace(split, mirror=share if shadow else 0.0))


def tally(gateway: Gateway) -> dict[str, int]:
    """What became of what was mirrored."""
    return cast("dict[str, int]", gateway.traffic.stats("flights")["shadow"])


def shadows(gateway: Gateway) -> Iterator[dict[str, object]]:
    """Every record of the shadow."""
    for segment in sorted((gateway.root / "log" / "flights").glob("shadows-*.jsonl")):
        yield from map(json.loads, segment.read_text().splitlines())


def test_a_shadow_answers_what_callers_asked_and_no_caller_sees_it(tmp_path: Path, models: Models) -> None:
    """Callers have the champion's answers alone; the shadow's are recorded under the ids of the same requests."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(0, None, generation=1)
        expected = gateway.ask(x=3.0).json()
        mirror(gateway, BETTER, generation=2)
        answers = [gateway.ask(x=3.0) for _ in range(5)]
        assert all(answer.json() == expected for answer in answers)
        assert {answer.headers["x-model-version"] for answer in answers} == {GOOD}
        wait_for(lambda: tally(gateway)["answered"] == 5)
        records = list(shadows(gateway))
        assert [record["request"] for record in records] == [answer.headers["x-request-id"] for answer in answers]
        assert {record["version"] for record in records} == {BETTER}
        assert all(record["prediction"] != expected["predictions"][0] for record in records)
        assert {record["version"] for record in gateway.records()} == {GOOD}


def test_the_sample_is_chosen_by_the_request_alone(tmp_path: Path, models: Models) -> None:
    """About the wanted share is mirrored, and the same requests again when they come again."""
    with listening(tmp_path, models) as gateway:
        mirror(gateway, BETTER, 30.0)
        body = {"dataframe_records": [{"unit": "u", "x": 1.0, "y": 2.0}]}
        for round_ in range(2):
            for number in range(200):
                gateway.post(body, x_request_id=f"{number}")
            wait_for(lambda round_=round_: tally(gateway)["waiting"] == 0)  # type: ignore[misc]
        seen = [str(record["request"]) for record in shadows(gateway) if "request" in record]
        first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
        assert first == second
        assert 30 <= len(first) <= 90


@pytest.mark.parametrize("shadow", in_turns([HANGS, EXITS], lambda shadow: shadow == HANGS))
def test_a_shadow_that_hangs_or_dies_costs_no_answer_and_every_drop_is_counted(
    tmp_path: Path, hosted: ForkedModels, shadow: str
) -> None:
    """Callers are answered by the champion; answered, failed, dropped and waiting add up to what was mirrored."""
    with listening(tmp_path, hosted, shadow_queue=2, shadow_timeout_s=1.0) as gateway:
        mirror(gateway, shadow)
        answers = [gateway.ask(x=float(number + 1), y=CALLERS_Y) for number in range(40)]
        assert {(answer.status_code, answer.headers["x-model-version"]) for answer in answers} == {(200, GOOD)}
        told = tally(gateway)
        assert told["mirrored"] == 40
        assert sum(told[key] for key in ("answered", "failed", "dropped", "waiting")) == 40
        assert told["answered"] == 0
        wait_for(lambda: tally(gateway)["waiting"] == 0 and tally(gateway)["failed"] > 0)
        dropped = tally(gateway)["dropped"]
        wait_for(lambda: sum(int(str(record.get("dropped", 0))) for record in shadows(gateway)) == dropped)


def test_a_shadow_is_not_asked_while_callers_need_the_processors(tmp_path: Path, models: Models) -> None:
    """On a host without time to spare what is mirrored waits, or is dropped and counted, and nothing is answered."""
    with listening(tmp_path, models, shadow_queue=4, shadow_idle_share=1.1) as gateway:
        mirror(gateway, BETTER)
        wait_for(lambda: gateway.ask().status_code == 200 and tally(gateway)["dropped"] >= 10)
        before = tally(gateway)["answered"]  # the first may come before anybody has looked
        assert {gateway.ask().status_code for _ in range(20)} == {200}
        told = tally(gateway)
        assert (told["answered"], told["waiting"]) == (before, 4)
        assert told["mirrored"] == told["answered"] + told["waiting"] + told["dropped"]


def test_a_shadow_that_is_wanted_no_more_is_let_go(tmp_path: Path, hosted: ForkedModels) -> None:
    """The route without a mirror ends the shadow's process, and a killed one is started again until then."""
    with listening(tmp_path, hosted) as gateway:
        mirror(gateway, BETTER)
        (process,) = hosted.living(BETTER)
        os.kill(process, signal.SIGKILL)
        gateway.ask()

        def again() -> bool:
            gateway.ask()
            return tally(gateway)["answered"] > 0

        wait_for(again)
        mirror(gateway, None, generation=2)
        wait_for(lambda: not hosted.living(BETTER))


@pytest.mark.sweep
def test_a_shadow_that_died_without_requests_comes_back(tmp_path: Path, hosted: ForkedModels) -> None:
    """One request that ends its process is enough to have it started again, and later ones are asked."""
    with listening(tmp_path, hosted) as gateway:
        mirror(gateway, EXITS)
        gateway.ask(x=1.0)
        wait_for(lambda: tally(gateway)["failed"] == 1)

        def again() -> bool:
            gateway.ask(x=0.0, y=0.0)  # the row that it can answer
            time.sleep(0.1)
            return tally(gateway)["answered"] > 0

        wait_for(again)


def test_what_waits_for_a_shadow_that_is_let_go_is_let_go_as_well(tmp_path: Path, hosted: ForkedModels) -> None:
    """Its process ends at once, whatever it was at, and what it had not answered is no failure of it."""
    with listening(tmp_path, hosted, shadow_queue=4, shadow_timeout_s=600.0) as gateway:
        mirror(gateway, HANGS)
        for _ in range(6):
            gateway.ask(x=1.0, y=CALLERS_Y)
        wait_for(lambda: tally(gateway)["dropped"] == 2)
        (process,) = hosted.living(HANGS)
        time.sleep(0.5)  # it is at one of them
        mirror(gateway, None, generation=2)
        wait_for(lambda: ended(process))
        wait_for(lambda: sum("request" in record for record in shadows(gateway)) == 4)
        errors = [str(record["error"]) for record in shadows(gateway) if "request" in record]
        assert {error.partition(":")[0] for error in errors} == {"Revoked"}


def test_a_shadow_that_cannot_be_loaded_is_refused(tmp_path: Path, models: Models) -> None:
    """The old route stays, and the error says which version."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(0, None, generation=1)
        missing = Version("99", "sha256:" + "0" * 64)
        split = replace(gateway.split(0, RAISING, generation=2), candidate=missing, mirror=10.0)
        with pytest.raises(Rejected, match="version 99 cannot be loaded"):
            gateway.traffic.shift("flights", split)
        live = gateway.traffic.live("flights")
        assert live is not None
        assert (live.generation, live.mirror) == (1, 0.0)


def test_a_mirrored_candidate_answers_no_caller(tmp_path: Path, models: Models) -> None:
    """A route with both a share of the answers and a mirror is refused."""
    with listening(tmp_path, models) as gateway, pytest.raises(Rejected, match="answers no caller"):
        gateway.traffic.shift("flights", replace(gateway.split(10, BETTER), mirror=10.0))
