"""Track the state of journal, gateway and registry for the status page while it is open."""

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.core.domain import Split
from surefoot.core.errors import JournalUnavailable, Rejected, SurefootError
from surefoot.core.journal.ledger import Ledger
from surefoot.reports.incident_page import format_time
from surefoot.rollout import Ports
from surefoot.settings import Settings
from surefoot.status_page.journal_view import JournalView
from surefoot.status_page.model_status import (
    FLOW_START_TIMEOUT_S,
    MAX_MISSED_TICKS,
    ModelStatus,
    read_model_status,
)
from surefoot.status_page.page_metrics import export_journal_metrics
from surefoot.tls_files import make_client_context

if TYPE_CHECKING:
    from collections.abc import Callable

_REFRESH_S = 1.0
"""Time between two readings of the journal while a page is open [s]."""
_LOOK_S = 5.0
"""Time between two looks at gateway and registry while a page is open [s]."""
_REREAD_S = 2.0
"""How long an action waits for another reading of the journals to end [s]."""
_FIRST_READING_S = 5.0
"""How long a page waits for the first reading of the journals [s]; later ones show what was read before."""
_IDLE_S = 20.0
"""How long after the last request a page counts as open [s]."""
_TIMEOUT_S = 1.5
"""How long a server may take to answer the question whether it is there [s]."""
_TICKING_FLOWS = ("reconcile", "watch")
"""Flows that come at every tick."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ModelLook:
    """A look at one model.

    Attributes:
        at: When [Unix seconds].
        status: What was found.
        registry: Whether the registry was asked.
    """

    at: float
    status: ModelStatus
    registry: bool


class StatusStore:
    """What pages show; read by the threads of requests, refreshed by one thread of its own.

    Attributes:
        config: Where everything is.
        view: The journals.
        general: What is wrong with the installation, a sentence each.
    """

    def __init__(self, config: Settings, ports: Ports, view: JournalView) -> None:
        """Follow nothing yet.

        Args:
            config: Where everything is.
            ports: Open ports, which stay open.
            view: The journals.
        """
        self.config, self.view = config, view
        self.general: list[str] = []
        self._ports = ports
        self._clock = wiring.make_clock(config)
        self._looks: dict[str, _ModelLook] = {}
        self._viewed: dict[str, float] = {}
        self._seen_at = 0.0
        self._wake, self._stopped = threading.Event(), False
        self._refreshing, self._looking = threading.Lock(), threading.Lock()
        self._journal_problem = ""
        self._read_once = threading.Event()
        self.on_change: Callable[[dict[str, int]], None] = lambda _heads: None

    def start(self) -> None:
        """Read the journals, and follow them while pages are open."""
        threading.Thread(target=self._run, name="status", daemon=True).start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopped = True
        self._wake.set()

    def policy_time(self) -> float:
        """Time of the policy's clock [Unix seconds]; that of the host where the clock cannot be read."""
        with contextlib.suppress(SurefootError, OSError):
            return self._clock.now()
        return time.time()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the installation, a sentence each."""
        return [*([self._journal_problem] if self._journal_problem else []), *self.general]

    def touch(self, model: str = "") -> None:
        """Note that a page is looked at; reads the journal when it was not followed.

        Raises:
            JournalUnavailable: The journals are being read for the first time.
        """
        now = time.time()
        idle = now - self._seen_at > _IDLE_S
        self._seen_at = now
        if model:
            self._viewed[model] = now
        if idle:
            self._wake.set()
            self._refresh()
        if not self._read_once.wait(_FIRST_READING_S):
            read = sum(self.view.heads().values())
            raise JournalUnavailable(f"the journal is being read, {read:,} entries so far: this page comes by itself")

    def metrics(self) -> bytes:
        """Everything that the journals say, in Prometheus' text format."""
        self.touch()
        records = {model: record for model in self.view.models if (record := self.view.record(model))}
        heartbeats = {flow: flow_progress.last_heartbeat(self.config.home, flow) for flow in _TICKING_FLOWS}
        with self.view.lock:
            return export_journal_metrics(records, heartbeats)

    def reread(self, model: str) -> None:
        """Read what an action has just journalled, so that the next page shows it."""
        self._refresh(_REREAD_S)
        self._looks.pop(model, None)

    def live_split(self, model: str) -> Split | None:
        """The split that the model's engine serves now; None where it serves none.

        Raises:
            SurefootError: The engine or the journal does not answer.
        """
        self.touch()
        record = self.view.record(model)
        return self._ports.engine(record.ledger).live(model) if record else None

    def look(self, model: str) -> ModelStatus:
        """How a model stands, as of the last look; the registry is not waited for."""
        known = self._looks.get(model)
        record = self.view.record(model)
        ledger = record.ledger if record else Ledger(model)
        if known is not None and known.status.ledger.head == ledger.head and time.time() - known.at < 4 * _LOOK_S:
            return known.status
        return self._look(model, registry=False)

    def _look(self, model: str, *, registry: bool) -> ModelStatus:
        record = self.view.record(model)
        with self._looking:
            found = read_model_status(
                self.config,
                self._ports,
                model,
                registry=registry,
                known=record.ledger if record else Ledger(model),
            )
        before = self._looks.get(model)
        if not registry and before is not None and before.registry:
            found.aliases = before.status.aliases
        self._looks[model] = _ModelLook(time.time(), found, registry)
        return found

    def _run(self) -> None:
        looked = 0.0
        while not self._stopped:
            now = time.time()
            self._refresh()
            if now - self._seen_at < _IDLE_S and now - looked > _LOOK_S:
                looked = now
                try:
                    self._check_servers()
                    for model in [name for name, at in self._viewed.items() if now - at < _IDLE_S]:
                        self._look(model, registry=True)
                except Exception:  # noqa: BLE001 - a page that cannot be refreshed must not end the following
                    _log.exception("the status page could not look at the installation, and goes on")
            if time.time() - self._seen_at < _IDLE_S:
                self._wake.wait(_REFRESH_S)
            else:
                self._wake.wait()
            self._wake.clear()

    def _refresh(self, patience: float = 0.0) -> None:
        """Read what is new in the journals.

        Args:
            patience: How long another thread is waited for that reads them already [s].
        """
        if not self._refreshing.acquire(timeout=patience):
            return
        try:
            before = self.view.heads()
            heads = self.view.refresh(time.time(), until=lambda: self._stopped)
            self._journal_problem = ""
            if heads != before:
                self.on_change(heads)
        except SurefootError as error:
            read = self.view.read_at
            when = f"this is what it said at {format_time(read)} UTC" if read else "nothing of it is known"
            self._journal_problem = f"the journal cannot be read ({error}): {when}"
        finally:
            self._read_once.set()
            self._refreshing.release()

    def _check_servers(self) -> None:
        """Ask each server whether it is there, and see when the scheduled flows came last."""
        addresses = {
            "gateway": f"{self.config.gateway}/health",
            "MLflow": f"{self.config.mlflow}/health",
            "Prefect": f"{self.config.prefect_api}/health",
        }
        found = []
        for name, url in addresses.items():
            try:
                verify = make_client_context(self.config.tls if name == "gateway" else None)
                httpx.get(url, timeout=_TIMEOUT_S, trust_env=False, verify=verify)
            except (httpx.HTTPError, Rejected) as error:
                found.append(f"{name} does not answer at {url.rpartition('/')[0]} ({type(error).__name__})")
        silent_after = MAX_MISSED_TICKS * self.config.tick + FLOW_START_TIMEOUT_S
        for name in _TICKING_FLOWS:
            last = flow_progress.last_heartbeat(self.config.home, name)
            if last is not None and time.time() - last > silent_after:
                every = self.config.tick
                found.append(f"no tick of '{name}' since {format_time(last)} UTC: one every {every} s is due")
        found += [
            f"policy of {model} is wrong: {error}" for model, error in wiring.find_broken_policies(self.config).items()
        ]
        self.general = found
