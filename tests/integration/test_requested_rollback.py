"""A rollback that is started by hand in Prefect, in front of a real journal and a real gateway."""

from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from surefoot import wiring
from surefoot.core.access.run_requests import REQUEST_SIGNATURE_NAMESPACE, RunOrder
from surefoot.core.journal.chain import check_chain
from tests.approvers import ApproverFolder
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import Gateway
from tests.integration.requested_flows import run_task

ROLES = """\
roles:
  "*": { admin: [ada] }
  fraud: { operator: [pia] }
  flights: { operator: [olga] }
"""


def test_a_signed_flow_run_moves_the_gateway_back(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a request, or with one of an operator of another model, traffic stays; the right one moves it at once."""
    home = tmp_path / "home"
    monkeypatch.setenv("SUREFOOT_HOME", str(home))
    monkeypatch.setattr("tasks.rollback.show_journal_in_mlflow", lambda _model: 0)
    stack, folder = Emergency(home, gateway), ApproverFolder(home)
    for person in ("pia", "olga"):
        folder.person(person, person)
    (folder.configs / "roles.yaml").write_text(ROLES)
    stack.ramp()
    order, head = RunOrder("rollback", MODEL, reason="wrong prices"), stack.journal.heads()

    def ask(person: str) -> object:
        request = wiring.build_request_to_sign(order, stack.config, 600.0)
        armour = folder.sign(request.signed_bytes, person, REQUEST_SIGNATURE_NAMESPACE)
        return run_task(order, f"{request.signed_bytes.decode()}\n{armour}")

    for done, needle in ((run_task(order, ""), "surefoot request"), (ask("pia"), "needs the role operator or admin")):
        assert isinstance(done, State)
        assert needle in str(done.message)
        assert (stack.journal.heads(), stack.live().weight) == (head, 50.0)
    assert ask("olga") == "rollout-1"
    entries = stack.journal.read(MODEL)
    decided = next(entry for entry in entries if entry.kind == "EndDecided")
    assert (decided.actor, decided.data["reason"], stack.live().weight) == ("signed:olga", "wrong prices", 0.0)
    check_chain(entries)
    stack.close()
