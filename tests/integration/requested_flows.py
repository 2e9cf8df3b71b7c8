"""Let people start flow runs by hand: a home with roles, keys, a real journal, and a gateway of the tests."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from surefoot.adapters.access.access_log import ACCESS_LOG
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.access.run_requests import REQUEST_SIGNATURE_NAMESPACE, RunOrder, RunRequest, make_request
from surefoot.core.journal.chain import Entry
from surefoot.rollout import Ports, open_promotion
from surefoot.settings import Settings
from tests.approvers import ApproverFolder
from tests.command_here import command_exit_code
from tests.conftest import free_port
from tests.fakes import POLICY, Scenario
from tests.scripted import scenario

ROLES = """\
roles:
  "*": { admin: [ada@example.com], viewer: [vera@example.com] }
  m: { operator: [olga@example.com, bob@example.com], approver: [anton@example.com, bob@example.com] }
"""
PEOPLE = ("ada", "vera", "olga", "anton", "bob", "sam")
TOKEN = "the secret of the installation"  # noqa: S105 - of a test
PROMOTE = RunOrder("promote", "m", "2", reason="it is better")
ROLLBACK = RunOrder("rollback", "m", reason="it is worse")


class RequestedFlows:
    """A home folder in which flow tasks run without a Prefect server."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = ApproverFolder(root)
        for person in PEOPLE:
            self.folder.person(f"{person}@example.com", person)
        self.folder.make_key("eve")
        dead = f"http://127.0.0.1:{free_port()}"
        self.config = Settings(root / "home", root, dead, dead, dead, TOKEN)
        self.config.save()
        self.roles.write_text(ROLES)
        (root / "expectations").mkdir()
        (root / "expectations" / "m.json").write_text('{"name": "m", "expectations": []}')
        for model in ("m", "other"):
            (self.config.configs / f"{model}.yaml").write_text(json.dumps({**POLICY, "model": model}))
        self.env: Scenario = scenario()
        self.journal = SqlJournal(self.config.journal_url, SystemClock())
        monkeypatch.setenv("SUREFOOT_HOME", str(self.config.home))
        monkeypatch.setattr("tasks.promote.open_flow_ports", self.flow_ports)
        monkeypatch.setattr("tasks.rollback.open_flow_ports", self.flow_ports)
        monkeypatch.setattr("tasks.rollback.show_journal_in_mlflow", lambda _model: 0)

    @property
    def roles(self) -> Path:
        """The file of roles."""
        return self.config.configs / "roles.yaml"

    @contextmanager
    def flow_ports(self) -> Iterator[Ports]:
        """What a flow task opens in its own name."""
        yield replace(self.env.ports("flow:a flow/local"), journal=self.journal)

    def entries(self, model: str = "m") -> tuple[Entry, ...]:
        """The journal of a model."""
        return self.journal.read(model)

    def heads(self) -> dict[str, tuple[int, str]]:
        """The heads of all journals."""
        return self.journal.heads()

    def open(self, model: str = "m", number: str = "2") -> str:
        """Open a promotion as a process of our own does."""
        with self.flow_ports() as ports:
            asked = self.env.request(number)
            return open_promotion(ports, replace(asked, policy={**asked.policy, "model": model}))

    def request(self, order: RunOrder, life: float = 600.0, **changes: Any) -> RunRequest:
        """A request that counts but for some changes."""
        nonce = f"nonce {time.monotonic_ns():020d}"
        made = make_request(order, TOKEN, nonce, int(time.time() + life))
        return replace(made, **changes)

    def signed(self, request: RunRequest, key: str = "olga", namespace: str = REQUEST_SIGNATURE_NAMESPACE) -> str:
        """A request with the signature of a key."""
        armour = self.folder.sign(request.signed_bytes, key, namespace)
        return f"{request.signed_bytes.decode()}\n{armour}"

    def run(self, order: RunOrder, request: str = "") -> object:
        """What the flow's own task returns for an order."""
        return run_task(order, request)

    def refused(self, order: RunOrder, request: str = "") -> str:
        """Message of a run that is refused: named for it, in one line, recorded, and without an entry."""
        before = self.heads()
        done = self.run(order, request)
        assert isinstance(done, State), done
        assert (done.is_failed(), done.name) == (True, "RequestRefused")
        assert self.heads() == before
        message = str(done.message)
        assert "\n" not in message
        line = self.log()[-1]
        assert (line["model"], str(line["outcome"])[:9]) == (order.model, "refused: "), line
        return message

    def log(self) -> list[dict[str, object]]:
        """Lines of the log of refusals."""
        file = self.config.home / ACCESS_LOG
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def command(self, *words: str) -> int:
        """Run a command in this process; its exit code."""
        return command_exit_code(*words)


def run_task(order: RunOrder, request: str) -> object:
    """Run the function of the task with which a flow begins."""
    from tasks.promote import open_rollout  # noqa: PLC0415 - Prefect takes seconds
    from tasks.rollback import roll_back  # noqa: PLC0415 - same

    if order.flow == "promote":
        return open_rollout.fn(order.model, order.version, order.reason, order.force, request)
    return roll_back.fn(order.model, order.reason, order.version or None, order.mode or None, request)


Forge = Callable[[RequestedFlows], str]
Cases = Mapping[str, tuple[Forge, str]]
