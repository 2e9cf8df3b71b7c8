"""A caller gets only what was computed for his row, whatever kind of model answers and however many ask at once."""

import contextlib
import http.client
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from surefoot.core.domain import Split
from tests.integration import rows_kinds
from tests.integration.gateway_process import Models
from tests.integration.rows_kinds import BATCH_DEPENDENT, KINDS, NOT_REPEATABLE, NUMBERS, ROW_WISE
from tests.integration.supervisor_harness import SupervisedGateway
from tests.integration.waiting import ended, wait_for
from tests.sweeps import in_turns

CALLERS = 32
WHOLE = "test_a_caller_gets_what_was_computed_for_his_row"
ALWAYS = {"series", "outputs", "sorted-array", "codes", "counter", "sklearn"}
"""One kind or two of each family; the others have their turn every sixth day."""
ORACLE = [sys.executable, "-m", "tests.integration.rows_oracle"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of every kind."""
    root = tmp_path_factory.mktemp("kinds")
    rows_kinds.save(root)
    return root


@pytest.fixture(scope="module")
def alone(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], list[object]]]:
    """Gives the answers of fresh processes, which arrive while the gateway is asked."""
    out = tmp_path_factory.mktemp("alone")
    chosen = {item.name for item in request.session.items}
    kinds = [kind for kind in KINDS if kind not in NOT_REPEATABLE and f"{WHOLE}[{kind}]" in chosen]
    process = subprocess.Popen([*ORACLE, str(saved), str(out), *kinds], env={**os.environ, "OMP_NUM_THREADS": "1"})

    def answers(kind: str) -> list[object]:
        file = out / f"{kind}.json"
        wait_for(lambda: file.exists() or process.poll() is not None, 300.0)
        found = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(found, list)
        return found

    yield answers
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def gateway(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedGateway]:
    """One worker in front of all kinds; each is a registered model with one version, in a process of its own."""
    made = SupervisedGateway(tmp_path_factory.mktemp("gateway"), Models(saved), 1, hosted=True)
    try:
        made.begin()
        yield made
        made.end()
        wait_for(lambda: all(map(ended, made.known)))
    finally:
        made.clear()


def rows_of(kind: str) -> list[dict[str, object]]:
    """What callers send: one row each, as JSON."""
    table = rows_kinds.table(kind)
    table = table.assign(day=table.day.dt.strftime("%Y-%m-%dT%H:%M:%S"))
    return [
        {str(name): None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - only NaN differs from itself
        for row in table.to_dict(orient="records")
    ]


def asked(port: int, kind: str) -> list[object]:
    """What CALLERS that ask at once get, a row each; all are answered."""
    bodies = [json.dumps({"dataframe_records": [row]}) for row in rows_of(kind)]
    found: list[object] = [None] * len(bodies)
    places = iter(range(len(bodies)))

    def caller() -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            for place in places:
                connection.request("POST", f"/models/{kind}/invocations", bodies[place])
                reply = connection.getresponse()
                body = reply.read()
                assert reply.status == 200, body
                (found[place],) = json.loads(body)["predictions"]

    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(caller) for _ in range(CALLERS)]:
            done.result()
    return found


def alike(one: object, other: object, digits: float) -> bool:
    """Whether two answers are the same, up to a relative difference of numbers that depends on how many are summed."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(alike(a, b, digits) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key], digits) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=digits, abs_tol=digits)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("kind", in_turns(KINDS, lambda kind: kind in ALWAYS))
def test_a_caller_gets_what_was_computed_for_his_row(
    kind: str, gateway: SupervisedGateway, alone: Callable[[str], list[object]]
) -> None:
    """No answer of 32 callers at once is another one than a fresh process gives to that row, and all are answered.

    Kinds that answer row by row are really asked in batches; the others one request at a time, which is said with the
    reason, and so are those that do not even repeat themselves.
    """
    version = gateway.models.version(NUMBERS[kind])
    gateway.traffic.shift(kind, Split(version, None, 0.0, "salt", "", 1))
    found = asked(gateway.port, kind)
    counts = gateway.traffic.stats(kind)["versions"][NUMBERS[kind]]  # type: ignore[index]
    assert (counts["requests"], counts["caller_errors"]) == (rows_kinds.COUNT, 0)
    if kind in NOT_REPEATABLE:
        assert "different answers to the same row" in counts["one_at_a_time"]
    elif kind in BATCH_DEPENDENT:
        assert "depends on the other rows of the batch" in counts["one_at_a_time"]
    else:
        assert kind in ROW_WISE or kind == "sklearn"
        assert (counts["one_at_a_time"], counts["row_wise"], counts["differed"]) == ("", True, 0)
        assert counts["shared"] > rows_kinds.COUNT / 2
        assert counts["batches"] < rows_kinds.COUNT / 2
    if not counts["row_wise"]:
        assert counts["shared"] == 0
        assert counts["batches"] >= rows_kinds.COUNT  # on a busy host one may be asked again, alone as well
    if kind in NOT_REPEATABLE:
        return
    digits = 1e-5 if kind == "float32" else 1e-12
    pairs = list(zip(found, alone(kind), strict=True))
    wrong = [(mine, other) for mine, other in pairs if not alike(mine, other, digits)]
    assert not wrong, f"{len(wrong)} of {len(found)}: {wrong[:3]}"
