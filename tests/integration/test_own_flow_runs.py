"""Flow runs that Surefoot starts itself where roles are in force: their parameters prove it, for one run alone."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.schemas.objects import State

from surefoot.cli import promote as promote_command
from surefoot.cli.demo import demo_environment
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.domain import Stage
from surefoot.rollout import drive_rollout, end_rollout
from tests.integration.requested_flows import PROMOTE, RequestedFlows, run_task

REASON = "asked for by hand"


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RequestedFlows:
    """A home with roles and keys."""
    return RequestedFlows(tmp_path, monkeypatch)


def from_reconcile(flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of the run that reconcile starts."""
    from tasks import reconcile  # noqa: PLC0415 - Prefect takes seconds

    asked: dict[str, Any] = {}
    monkeypatch.setattr(reconcile, "list_latest_promote_runs", lambda _states: [])
    monkeypatch.setattr(reconcile, "run_deployment", lambda _name, **more: asked.update(more))
    assert reconcile._start("m", "2", REASON, 7)
    return dict(asked["parameters"])


def from_prefect(module: Any, monkeypatch: pytest.MonkeyPatch, start: Any) -> dict[str, Any]:
    """Parameters of the run that a command asks Prefect for."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"id": "an-id"})

    def client(*_: object) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://prefect")

    monkeypatch.setattr(module, "open_prefect_client", client)
    start()
    (body,) = bodies
    return dict(body["parameters"])


def started(way: str, flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of a run that a process of our own starts."""
    if way == "reconcile":
        return from_reconcile(flows, monkeypatch)
    if way == "command":
        return from_prefect(
            promote_command, monkeypatch, lambda: promote_command._flow_run(flows.config, "cli:ada", "m", "2")
        )
    demo = demo_environment.DemoEnvironment(flows.config)
    monkeypatch.setattr(demo, "_model", "m")
    return from_prefect(demo_environment, monkeypatch, lambda: demo.start_promotion("2", REASON))


@pytest.mark.parametrize("way", ["reconcile", "command", "demo"])
def test_a_run_of_our_own_begins_and_its_copy_does_not(
    flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The run opens its rollout in its own name; its parameters, copied into another run, are refused."""
    parameters = started(way, flows, monkeypatch)
    request = parameters.pop("request")
    assert parameters.pop("reason", REASON) == REASON
    assert parameters == {"model": "m", "version": "2"}
    for other in ({"version": "3"}, {"model": "other"}, {"force": True}):
        assert "it is about" in flows.refused(RunOrder("promote", **{**parameters, **other}), request)
    opened = run_task(PROMOTE, request)
    assert isinstance(opened, tuple), opened
    assert {entry.actor for entry in flows.entries()} == {"flow:a flow/local"}
    with flows.flow_ports() as ports:
        end_rollout(ports, "m", Stage.ABORTED, "a test")
        drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert "it was used before" in flows.refused(PROMOTE, request)


@pytest.mark.parametrize("way", ["reconcile", "command", "demo"])
def test_without_roles_our_own_runs_are_as_before(
    flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Where no run is asked who starts it, the parameters of a run have no request."""
    flows.roles.unlink()
    assert "request" not in started(way, flows, monkeypatch)
    assert not isinstance(run_task(PROMOTE, ""), State)
