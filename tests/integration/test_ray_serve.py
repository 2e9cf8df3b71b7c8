"""What runs on Ray, on a real node: the law of assignment, checked digests, and replicas that end."""

import contextlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Arm
from surefoot.core.errors import ArtifactTampered
from tests.integration.engine_harness import CANDIDATE, CHAMPION
from tests.integration.gateway_harness import ROW
from tests.integration.ray_harness import RayHarness
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.sweep("engine ray")


@pytest.fixture
def engine(ray_engine: RayHarness) -> Iterator[RayHarness]:
    """Ray Serve, with a quarter of the units at the candidate."""
    ray_engine.shift(25.0)
    yield ray_engine
    ray_engine.remove_router()


def test_each_unit_has_the_version_that_the_gateway_gives_it(engine: RayHarness) -> None:
    """The router assigns by the same function of salt, unit and weight."""
    units = [f"N{number}" for number in range(200)]
    split = engine.split(25.0)
    expected = [CANDIDATE if assign_arm(split, unit, unit) is Arm.CANDIDATE else CHAMPION for unit in units]
    assert [one.version for one in engine.ask_all(units)] == expected
    assert Counter(expected)[CANDIDATE] > 20


def test_bytes_of_another_digest_are_never_loaded(engine: RayHarness) -> None:
    """A version whose files in MLflow are not of the journal's digest does not start, and callers are served on."""
    digest = "sha256:" + "5" * 64
    before = engine.traffic.live(engine.model)
    engine.known["3"], kept = engine.version("3", digest), engine.known["3"]
    try:
        with pytest.raises(ArtifactTampered, match="the registry's files are"):
            engine.shift(5.0, "3", generation=2)
    finally:
        engine.known["3"] = kept
    assert engine.traffic.live(engine.model) == before
    assert {one.version for one in engine.ask_all([f"N{number}" for number in range(40)])} == {CHAMPION, CANDIDATE}


def test_a_replica_that_is_killed_fails_no_caller(engine: RayHarness) -> None:
    """While Ray starts another one, requests of its version wait for that one; a rollback needs neither."""
    answers: list[str] = []
    over = threading.Event()

    def call(first: int) -> None:
        for number in itertools.count(first, 4):
            answers.append(engine.ask(f"N{number % 200}"))
            if over.is_set():
                return

    threads = [threading.Thread(target=call, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: CANDIDATE in list(answers))
        name = f"ray::ServeReplica:{engine.model}:v{CANDIDATE}:"
        killed = [one for one in engine.node.processes() if "".join(one.cmdline()).startswith(name)]
        for one in killed:
            one.kill()
        seen = len(answers)
        wait_for(lambda: CANDIDATE in list(answers)[seen + 8 :])
        engine.shift(0.0, None, generation=2)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert killed
    assert "" not in answers


def test_a_request_that_is_under_way_when_traffic_goes_back_is_answered(engine: RayHarness) -> None:
    """A caller of the candidate whose body is still coming when the split changes gets an answer."""
    engine.shift(99.0, generation=2)
    units = [f"N{number}" for number in range(40)]
    split = engine.split(99.0, generation=2)
    unit = next(one for one in units if assign_arm(split, one, one) is Arm.CANDIDATE)
    body = json.dumps({"dataframe_records": [{**ROW, "unit": unit}]}).encode()
    with contextlib.closing(HTTPConnection(engine.node.url.removeprefix("http://"), timeout=90)) as connection:
        connection.putrequest("POST", f"/models/{engine.model}/invocations")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body[:10])
        assert CANDIDATE in {one.version for one in engine.ask_all(units)}  # behind it, so that its handler has begun
        engine.shift(0.0, None, generation=3)
        connection.send(body[10:])
        answer = connection.getresponse()
        said = answer.read()
    assert (answer.status, answer.headers["x-model-version"]) == (200, CANDIDATE), said
