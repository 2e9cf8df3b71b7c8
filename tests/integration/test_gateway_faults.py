"""The gateway when a candidate, a caller, the disk or the process itself fails."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from surefoot.adapters.traffic.gateway import GatewayTraffic
from tests.conftest import free_port
from tests.integration.gateway_harness import (
    GOOD,
    NAN,
    PATIENCE,
    QUITTING,
    RAISING,
    ROW,
    SHORT,
    SLEEPING,
    Gateway,
    healthy,
    listening,
)
from tests.integration.gateway_process import TOKEN, Models
from tests.integration.waiting import wait_for


@pytest.mark.parametrize(
    ("candidate", "error"),
    [
        (RAISING, "RuntimeError: no such tree"),
        (QUITTING, "SystemExit: 3"),
        (SLEEPING, "Late: no answer within 250 ms"),
        (NAN, "ValueError: the model gave nan as an answer"),
        (SHORT, "ValueError: the model gave 0 answers for 1 rows"),
    ],
)
def test_users_never_pay_for_a_candidate(tmp_path: Path, models: Models, candidate: str, error: str) -> None:
    """A candidate that raises, hangs, gives NaN or too little is answered for by the champion, and is blamed."""
    late = candidate == SLEEPING
    with listening(tmp_path, models, candidate_timeout_s=PATIENCE if late else 60.0) as gateway:
        gateway.shift(0, None)
        expected = gateway.ask().json()
        gateway.shift(100, candidate, generation=2)
        answer = gateway.ask()
        assert (answer.status_code, answer.json()) == (200, expected)
        assert answer.headers["x-model-version"] == GOOD
        record = gateway.records()[-1]
        assert (record["arm"], record["version"], record["answered_by"]) == ("candidate", candidate, GOOD)
        assert record["error"] == error
        assert record["prediction"] == expected["predictions"][0]
        counts = gateway.traffic.stats("flights")["versions"][candidate]  # type: ignore[index]
        assert (counts["requests"], counts["candidate_errors"], counts["late"]) == (1, 1, int(late))


def test_a_hanging_candidate_is_not_waited_for_again(tmp_path: Path, models: Models) -> None:
    """While a candidate hangs over one request, the next ones go to the champion at once and are counted late."""
    with listening(tmp_path, models, candidate_timeout_s=PATIENCE) as gateway:
        gateway.shift(100, SLEEPING)
        assert gateway.ask().status_code == 200  # given up after a quarter of the candidate's sleep
        assert gateway.ask().status_code == 200
        errors = [str(record["error"]) for record in gateway.records()]
        assert errors == ["Late: no answer within 250 ms", "Late: still busy after 250 ms with earlier requests"]
        assert gateway.traffic.stats("flights")["versions"][SLEEPING]["late"] == 2  # type: ignore[index]


def test_one_bad_request_does_not_fail_its_batch(routed: Gateway) -> None:
    """Of many requests at once only the bad ones are refused."""

    async def ask(client: httpx.AsyncClient, number: int) -> int:
        row = {"x": "far" if number % 10 == 0 else number, "y": 1}
        answer = await client.post(
            routed.url + "/invocations", content=json.dumps({"instances": [row]}), headers={"x-request-id": f"{number}"}
        )
        return answer.status_code

    async def everybody() -> list[int]:
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(60)))

    assert asyncio.run(everybody()) == [400 if number % 10 == 0 else 200 for number in range(60)]
    failed = [record for record in routed.records() if record["error"]]
    assert sorted(int(str(record["request"])) for record in failed) == [0, 10, 20, 30, 40, 50]
    assert {(record["arm"], record["answered_by"], record["prediction"]) for record in failed} == {
        ("champion", None, None)
    }


def test_a_full_queue_is_refused(tmp_path: Path, models: Models) -> None:
    """When more requests wait than may, the next one is told to come back."""
    with listening(tmp_path, models, max_queue=0) as gateway:
        gateway.shift(0, None)
        answer = gateway.ask()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_revoked_candidate_does_not_answer(gateway: Gateway) -> None:
    """A rollback while the candidate is computing makes the champion answer that very request."""
    gateway.shift(100, SLEEPING, generation=1)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(gateway.ask()))
    caller.start()
    wait_for(lambda: gateway.traffic.stats("flights")["versions"][SLEEPING]["requests"] == 1)  # type: ignore[index]
    gateway.shift(0, SLEEPING, generation=2)
    caller.join()
    assert answers[0].headers["x-model-version"] == GOOD
    record = gateway.records()[-1]
    assert (record["arm"], record["version"], record["answered_by"]) == ("candidate", SLEEPING, GOOD)
    assert record["error"] is None


def test_a_full_disk_stops_no_answer(routed: Gateway) -> None:
    """When the log cannot be written the callers are still answered, and the losses are counted."""
    assert routed.ask().status_code == 200
    folder = routed.root / "log" / "flights"
    with listening(routed.root / "full", routed.models) as gateway:
        (gateway.root / "log").mkdir(parents=True)
        (gateway.root / "log" / "flights").touch()  # a file where the directory should be
        gateway.shift(0, None)
        assert gateway.ask().status_code == 200
        assert gateway.ask().status_code == 200
        assert gateway.traffic.stats("flights")["log_dropped"] == 2
        (gateway.root / "log" / "flights").unlink()
        assert gateway.ask().status_code == 200
        assert len(gateway.records()) == 1
        assert gateway.traffic.stats("flights")["log_dropped"] == 2
    assert folder.is_dir()


def test_nothing_acknowledged_is_lost_on_a_kill(tmp_path: Path, models: Models) -> None:
    """After kill -9 under load the log holds every request that was answered, and the split comes back."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    traffic = GatewayTraffic(url, TOKEN)
    script = Path(__file__).with_name("gateway_process.py")
    command = [sys.executable, str(script), str(tmp_path), str(models.root), str(port)]
    environment = {"PYTHONPATH": str(script.parents[2]), "PATH": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    gateway = Gateway(tmp_path, url, models, traffic)
    process = subprocess.Popen(command, env=environment)
    try:
        wait_for(lambda: healthy(url))
        split = gateway.shift(50)
        acknowledged: list[str] = []

        def caller(name: int) -> None:
            with httpx.Client(timeout=10) as client:
                for number in itertools.count():
                    request = f"{name}-{number}"
                    body = json.dumps({"instances": [{**ROW, "unit": request}]})
                    try:
                        answer = client.post(f"{url}/invocations", content=body, headers={"x-request-id": request})
                    except httpx.HTTPError:
                        return
                    if answer.status_code == 200:
                        acknowledged.append(request)

        callers = [threading.Thread(target=caller, args=(name,)) for name in range(8)]
        for thread in callers:
            thread.start()
        wait_for(lambda: len(acknowledged) > 300)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for thread in callers:
            thread.join()
        recorded = [record["request"] for record in gateway.records()]
        assert len(acknowledged) > 300
        assert set(acknowledged) <= set(recorded)
        assert len(recorded) == len(set(recorded))
        process = subprocess.Popen(command, env=environment)
        wait_for(lambda: healthy(url) and traffic.live("flights") is not None)
        assert traffic.live("flights") == split
    finally:
        process.kill()
        process.wait()
