"""Routes: acknowledged, fenced, persisted, and the adapter that sets them."""

import asyncio
import contextlib
import http.client
import itertools
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import LogPolicy, Split, Version
from surefoot.core.errors import (
    ArtifactTampered,
    GatewayUnavailable,
    OutcomeUnknown,
    Rejected,
    RouteSuperseded,
)
from tests import local_http
from tests.conftest import free_port
from tests.integration.gateway_harness import (
    BETTER,
    GOOD,
    NAN,
    QUITTING,
    RAISING,
    ROW,
    SHORT,
    Gateway,
    ask_all,
    healthy,
    listening,
)
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.waiting import wait_for


def test_route_change_is_acknowledged_and_fenced(gateway: Gateway) -> None:
    """A newer generation is taken, the same one again is fine, an older or a different one of the same is refused."""
    first = gateway.shift(10, generation=5)
    assert gateway.traffic.live("flights") == first
    assert json.loads((gateway.root / "routes" / "flights.json").read_text())["weight"] == 10
    gateway.traffic.shift("flights", first)
    for stale in (replace(first, generation=4), replace(first, weight=20.0)):
        with pytest.raises(RouteSuperseded):
            gateway.traffic.shift("flights", stale)
    second = gateway.shift(0, generation=6)
    assert gateway.traffic.live("flights") == second
    assert gateway.ask().headers["x-model-generation"] == "6"


def test_rollback_loads_nothing(gateway: Gateway) -> None:
    """Weight 0, and the versions that were left lately, are served again without a load."""
    gateway.shift(50, generation=1)
    gateway.shift(0, None, champion=BETTER, generation=2)
    before = list(gateway.models.loads)
    gateway.shift(0, generation=3)
    gateway.shift(100, generation=4)
    gateway.shift(0, RAISING, generation=5)  # at weight 0 a candidate answers no caller, so it is not waited for
    assert gateway.models.loads == before
    assert gateway.ask().headers["x-model-version"] == GOOD


def test_rollback_overtakes_a_load_and_fences_it(gateway: Gateway) -> None:
    """A rollback is acknowledged while a route is still loading, and that route is refused when it has loaded."""
    gateway.shift(0, None, generation=1)
    go_on = gateway.models.hold(BETTER)
    refused: list[RouteSuperseded] = []

    def ramp() -> None:
        try:
            gateway.shift(50, generation=2)
        except RouteSuperseded as error:
            refused.append(error)

    thread = threading.Thread(target=ramp)
    before = len(gateway.models.loads)
    thread.start()
    wait_for(lambda: len(gateway.models.loads) > before)
    gateway.shift(0, generation=3)
    go_on.set()
    thread.join()
    assert len(refused) == 1
    live = gateway.traffic.live("flights")
    assert live is not None
    assert live.generation == 3


def test_a_ramp_under_load_fails_no_request(gateway: Gateway) -> None:
    """While the weight goes up and down under load, every caller is answered and nothing is recorded twice."""
    gateway.shift(0, generation=1)
    weights = itertools.cycle((10, 100, 0, 50, 0))
    stop = threading.Event()

    def ramp() -> None:
        for generation in itertools.count(2):
            gateway.shift(next(weights), generation=generation)
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=ramp)
    thread.start()
    answered = ask_all(gateway.url, [f"N{number}" for number in range(1000)])
    stop.set()
    thread.join()
    records = gateway.records()
    assert len(records) == len({record["request"] for record in records}) == 1000
    assert sorted(answered) == sorted(str(record["answered_by"]) for record in records)
    revoked = [record for record in records if record["version"] != record["answered_by"]]
    assert all(record["arm"] == "candidate" and record["answered_by"] == GOOD for record in revoked)


def test_load_failures_leave_the_old_route(routed: Gateway) -> None:
    """Bytes of another digest are ArtifactTampered, a version that is not there is Rejected, and nothing changes."""
    forged = Version(BETTER, "sha256:" + "0" * 64)
    with pytest.raises(ArtifactTampered, match="not of its digest"):
        routed.traffic.shift("flights", replace(routed.split(50, generation=2), candidate=forged))
    absent = Version("99", "sha256:" + "0" * 64)
    with pytest.raises(Rejected, match="not a directory"):
        routed.traffic.shift("flights", replace(routed.split(50, generation=2), candidate=absent))
    live = routed.traffic.live("flights")
    assert live is not None
    assert live.generation == 1
    assert routed.ask().status_code == 200


def test_routes_need_the_token(routed: Gateway) -> None:
    """Without the control token a route cannot be set, and the salt is not told."""
    stranger = GatewayTraffic(routed.url, "guess")
    with pytest.raises(Rejected, match="401"):
        stranger.shift("flights", routed.split(50, generation=2))
    shown = local_http.get(routed.url + "/models/flights/route").json()
    assert "salt" not in shown
    assert shown["champion"]["number"] == GOOD


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weight": 101}, "from 0 to 100"),
        ({"weight": "9"}, "number of percent"),
        ({"candidate": None}, "needs a candidate"),
        ({"generation": 1.5}, "whole number"),
        ({"champion": {"number": "1"}}, "champion is an object"),
        ({"rollout": "a\r\nb"}, "rollout is a text"),
        ({"extra": 1}, "extra"),
    ],
)
def test_malformed_routes_are_refused(routed: Gateway, change: dict[str, object], says: str) -> None:
    """A route that breaks a rule is 400 and says which."""
    route = {**local_http.get(routed.url + "/models/flights/route").json(), "salt": "s", "weight": 5, "generation": 2}
    del route["serving"], route["settled"]
    route["candidate"] = route["champion"]
    answer = local_http.put(
        routed.url + "/models/flights/route", json={**route, **change}, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status_code == 400
    assert says in answer.json()["message"]


def test_dead_and_silent_gateways(tmp_path: Path) -> None:
    """A port without a listener is GatewayUnavailable, known not applied; a connection cut midway is OutcomeUnknown."""
    port = free_port()
    version = Version(GOOD, "sha256:" + "0" * 64)
    dead = GatewayTraffic(f"http://127.0.0.1:{port}", TOKEN)
    for call in (lambda: dead.shift("m", Split(version)), lambda: dead.live("m"), lambda: dead.stats("m")):
        with pytest.raises(GatewayUnavailable):
            call()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def silent() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", port):
            with pytest.raises(OutcomeUnknown):
                await asyncio.to_thread(dead.shift, "m", Split(version))

    asyncio.run(silent())


def test_restart_comes_back_with_the_same_split(tmp_path: Path, models: Models) -> None:
    """A new gateway on the same state serves the same split at once, and refuses what is older."""
    with listening(tmp_path, models) as gateway:
        split = gateway.shift(30, generation=9)
    with listening(tmp_path, models) as gateway:
        wait_for(lambda: healthy(gateway.url))
        assert gateway.traffic.live("flights") == split
        with pytest.raises(RouteSuperseded):
            gateway.shift(0, generation=8)


def test_restart_without_the_candidate(tmp_path: Path, models: Models) -> None:
    """A candidate that cannot be loaded any more gets no traffic, as health says; a champion keeps the model away."""
    with listening(tmp_path, models) as gateway:
        wanted = gateway.shift(100, generation=1)
    file = tmp_path / "routes" / "flights.json"
    whole = file.read_text()
    file.write_text(whole.replace(models.version(BETTER).digest, "sha256:" + "0" * 64))
    with listening(tmp_path, models) as gateway:
        wait_for(lambda: healthy(gateway.url))
        assert gateway.ask().headers["x-model-version"] == GOOD
        assert local_http.get(gateway.url + "/health").json()["models"]["flights"]["candidate_missing"] is True
        live = gateway.traffic.live("flights")
        assert live is not None
        assert live.weight == 0
        assert not live.routes_same_as(wanted)
        gateway.shift(0, generation=2)  # the rollback needs no candidate
        assert local_http.get(gateway.url + "/health").json()["models"]["flights"]["candidate_missing"] is False
    file.write_text(whole.replace(models.version(GOOD).digest, "sha256:" + "0" * 64))
    with listening(tmp_path, models) as gateway:
        wait_for(lambda: "not of its digest" in gateway.ask().text)
        assert gateway.ask().status_code == 503
        assert not healthy(gateway.url)
        assert gateway.traffic.live("flights") is None
        gateway.shift(100, generation=2)
        assert gateway.ask().status_code == 200
    file.write_text("{")
    with listening(tmp_path, models) as gateway:
        assert "route file cannot be used" in gateway.ask().text
        assert not healthy(gateway.url)


def test_the_last_champion_stays_warm(tmp_path: Path, models: Models) -> None:
    """However many candidates fail after a promotion, also over a restart, going back loads nothing."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(0, None)
        gateway.shift(0, None, champion=BETTER, generation=2)
        for generation, candidate in enumerate((RAISING, NAN, SHORT, QUITTING), 3):
            gateway.shift(50, candidate, champion=BETTER, generation=2 * generation)
            gateway.shift(0, candidate, champion=BETTER, generation=2 * generation + 1)
    before = models.loads.count(GOOD)
    with listening(tmp_path, models) as gateway:
        wait_for(lambda: models.loads.count(GOOD) > before)
        gateway.shift(0, None, generation=20)
        assert gateway.ask().headers["x-model-version"] == GOOD
        assert models.loads.count(GOOD) == before + 1


def test_a_route_that_was_not_written_is_written_when_it_is_sent_again(gateway: Gateway) -> None:
    """A client that repeats a call whose end was not seen has the file too; health tells of its absence."""
    split = gateway.shift(10, generation=5)
    file = gateway.root / "routes" / "flights.json"
    whole = file.read_bytes()
    file.unlink()
    assert local_http.get(gateway.url + "/health").json()["models"]["flights"]["persisted"] is False
    gateway.traffic.shift("flights", split)
    assert file.read_bytes() == whole
    assert local_http.get(gateway.url + "/health").json()["models"]["flights"]["persisted"] is True


def test_a_policys_words_stay_for_a_rollout(tmp_path: Path, models: Models) -> None:
    """An edit of the unit, or of what is kept, counts from the next rollout on, for all workers and over restarts."""
    units: dict[str, str | None] = {"flights": "unit"}
    policies = {"flights": LogPolicy(dropped=("x",))}
    with listening(tmp_path, models, units=units, kept=policies) as gateway:
        gateway.shift(50)
        units["flights"], policies["flights"] = None, LogPolicy()
        gateway.shift(60, generation=2)
        gateway.ask()
    with listening(tmp_path, models, units=units, kept=policies) as gateway:
        gateway.ask()
        records = gateway.records()
        assert [record["unit"] for record in records] == ["N14228"] * 2
        assert all("x" not in record["features"] for record in records)  # type: ignore[operator]
        gateway.traffic.shift("flights", replace(gateway.split(0, None, generation=3), rollout="rollout-8"))
        gateway.ask()
        assert gateway.records()[-1]["unit"] is None
        assert "x" in gateway.records()[-1]["features"]  # type: ignore[operator]


def test_a_slow_caller_is_not_the_candidates_fault(tmp_path: Path, models: Models) -> None:
    """However long a caller takes to send its request, the candidate has its whole patience from then on."""
    with listening(tmp_path, models, candidate_timeout_s=3.0) as gateway:
        gateway.shift(100)
        gateway.ask()
        body = json.dumps({"dataframe_records": [ROW]}).encode()
        with contextlib.closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)) as caller:
            caller.putrequest("POST", "/models/flights/invocations")
            caller.putheader("content-type", "application/json")
            caller.putheader("content-length", str(len(body)))
            caller.endheaders()
            time.sleep(3.5)
            caller.send(body)
            answer = caller.getresponse()
            assert (answer.status, answer.headers["x-model-version"]) == (200, BETTER)
        assert gateway.records()[-1]["error"] is None
