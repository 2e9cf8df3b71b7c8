"""Run the looks and the flow of `reconcile` over many models, and count their calls to MLflow."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import requests
from prefect.logging import disable_run_logger

from bench.reconciling.registered_models import CHAMPION
from surefoot.controller.due_work import DueWork
from surefoot.controller.tick_state import TickState
from surefoot.core.domain import Split, Version
from surefoot.settings import Settings
from tasks import reconcile

if TYPE_CHECKING:
    from surefoot.controller.flow_scheduler import Scheduler


@dataclass
class _ServedByAll:
    """A gateway that serves every champion: a thousand models in processes of their own are beyond one host."""

    models: Sequence[str]
    split: Split = field(default_factory=lambda: Split(Version(CHAMPION, f"sha256:{'2' * 64}"), None, 0.0, "", "", 2))

    def served_states(self) -> Mapping[str, str]:
        """The state of each model."""
        return dict.fromkeys(self.models, "served")

    def live(self, model: str) -> Split:  # noqa: ARG002 - the port's
        """The split of a model."""
        return self.split

    def set_standby(self, *_: object, **__: object) -> None:
        """Take the name of a standby."""

    def set_fallback(self, *_: object) -> None:
        """Take the name of a fallback."""


class _NoRuns:
    """A scheduler in which nothing runs; a look without open rollouts asks for no more."""

    def promote_runs(self) -> Sequence[Any]:
        """Promotions that are not over: none."""
        return ()


@dataclass
class PassCost:
    """What one pass has cost.

    Attributes:
        calls: HTTP requests to MLflow [count].
        seconds: Wall time [s].
    """

    calls: int
    seconds: float


@contextlib.contextmanager
def _counted() -> Iterator[list[str]]:
    """Count the HTTP requests that MLflow's client sends: one address for each."""
    sent: list[str] = []
    send = requests.Session.send

    def counting(session: requests.Session, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        sent.append(str(request.url))
        return send(session, request, **more)

    with patch.object(requests.Session, "send", counting):
        yield sent


@contextlib.contextmanager
def _served(models: Sequence[str]) -> Iterator[None]:
    """Stand in for the gateway."""
    with patch(
        "surefoot.wiring.operation_ports.open_gateway_traffic", lambda _: contextlib.nullcontext(_ServedByAll(models))
    ):
        yield


def run_two_looks(config: Settings, models: Sequence[str]) -> tuple[PassCost, PassCost]:
    """The controller's first look for work of `reconcile`, and a later one.

    Raises:
        RuntimeError: It has found work other than the hourly comparison: the pass is not what it is meant to be.
    """
    work = DueWork(TickState(config), cast("Scheduler", _NoRuns()))
    found = []
    with _served(models):
        for _ in range(2):
            with _counted() as sent:
                began = time.perf_counter()
                due = work.find_due_work(["reconcile"])["reconcile"]
                found.append(PassCost(len(sent), time.perf_counter() - began))
            others = [said for said in due if "compared" not in said and "shown in MLflow" not in said]
            if others:
                raise RuntimeError(f"there is other work: {others[:3]}")
    return found[0], found[1]


def run_flow(config: Settings, models: Sequence[str]) -> PassCost:
    """The tasks of the flow `reconcile` that read the registry, as an hourly run does them.

    Raises:
        RuntimeError: A difference was found where there is none.
    """
    with (
        _served(models),
        patch("tasks.reconcile.read_settings", lambda: config),
        patch("tasks.stage_driver.read_settings", lambda: config),
        disable_run_logger(),
        _counted() as sent,
    ):
        began = time.perf_counter()
        reconcile.serve_champions.fn()
        reconcile.apply_registry_changes.fn()
        differences = reconcile.report_drift.fn()
        seconds = time.perf_counter() - began
    if differences:
        raise RuntimeError(f"there are differences: {differences[:3]}")
    return PassCost(len(sent), seconds)
