"""Who may start a flow run by hand: signed requests and proofs of the installation, with real journal and keys."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from surefoot import wiring
from surefoot.core.access.run_requests import (
    REQUEST_SIGNATURE_NAMESPACE,
    SIGNED_PERSON_PREFIX,
    RunOrder,
    make_run_proof,
)
from surefoot.core.domain import Stage
from surefoot.core.errors import RequestInvalid, TransitionIllegal
from surefoot.core.journal.chain import check_chain
from surefoot.core.journal.events import EndDecided, RolloutOpened
from surefoot.core.journal.ledger import fold_entries
from surefoot.rollout import drive_rollout, end_rollout, open_promotion
from tasks.promote_flow_runs import identify_flow_run_attempt
from tests.integration.requested_flows import PEOPLE, PROMOTE, ROLLBACK, TOKEN, Cases, Forge, RequestedFlows

ACTIONS = {"promote": PROMOTE, "promote with force": replace(PROMOTE, force=True), "rollback": ROLLBACK}
MAY = {
    "ada": {(action, model) for action in ACTIONS for model in ("m", "other")},
    "olga": {("promote", "m"), ("rollback", "m")},
    "bob": {(action, "m") for action in ACTIONS},
}


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RequestedFlows:
    """A home with roles and keys."""
    return RequestedFlows(tmp_path, monkeypatch)


@pytest.mark.parametrize("model", ["m", "other"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("person", PEOPLE)
def test_each_flow_asks_for_the_role_of_its_signer(flows: RequestedFlows, person: str, action: str, model: str) -> None:
    """A person starts what their roles allow, under their own name and reason; any other run changes nothing."""
    order = replace(ACTIONS[action], model=model)
    if order.flow == "rollback":
        flows.open(model)
    text = flows.signed(flows.request(order), person)
    if (action, model) not in MAY.get(person, set()):
        said = flows.refused(order, text)
        assert said.startswith(f"signed:{person}@example.com may not do this: "), said
        assert f"of {model} needs the role" in said
        return
    head = len(flows.entries(model))
    flows.run(replace(order, reason="what the form says"), text)
    fresh = [one for one in flows.entries(model)[head:] if one.kind in {RolloutOpened.__name__, EndDecided.__name__}]
    asked = fresh[0]
    assert (asked.actor, asked.data["reason"]) == (f"{SIGNED_PERSON_PREFIX}{person}@example.com", order.reason)
    check_chain(flows.entries(model))
    assert "accepted: key SHA256:" in str(flows.log()[-1]["outcome"])


@pytest.mark.parametrize("order", ACTIONS.values(), ids=ACTIONS)
def test_a_run_without_a_request_says_what_to_do(flows: RequestedFlows, order: RunOrder) -> None:
    """With roles and an empty field nothing begins, and the message has the command that makes a request."""
    if order.flow == "rollback":
        flows.open()
    words = {"promote": "promote m 2 -m REASON", "rollback": "rollback m -m REASON"}[order.flow]
    said = flows.refused(order)
    assert f"'surefoot request {words}{' --force' if order.force else ''}'" in said
    assert f"or use 'surefoot {words.removesuffix(' -m REASON')}'" in said
    assert flows.log()[-1]["actor"] == "unknown"


def about(order: RunOrder) -> Forge:
    """A request for another run, rightly signed by a person who may do everything."""
    return lambda flows: flows.signed(flows.request(order), "ada")


def changed(**fields: Any) -> Forge:
    """A request with other fields, rightly signed by a person who may do everything."""
    return lambda flows: flows.signed(flows.request(PROMOTE, **fields), "ada")


def edited(before: str, after: str) -> Forge:
    """A good text, edited after it was signed."""
    return lambda flows: flows.signed(flows.request(PROMOTE), "ada").replace(before, after)


def used(flows: RequestedFlows) -> str:
    """A text that has begun another rollout, which is over."""
    text = flows.signed(flows.request(PROMOTE))
    flows.run(PROMOTE, text)
    with flows.flow_ports() as ports:
        end_rollout(ports, "m", Stage.ABORTED, "a test")
        drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    return text


def revoked(flows: RequestedFlows) -> str:
    """A key that was revoked after it had signed."""
    text = flows.signed(flows.request(PROMOTE), "ada")
    flows.folder.revoke("ada")
    return text


def two_people(flows: RequestedFlows) -> str:
    """A key of two names."""
    flows.folder.person("vera@example.com", "ada")
    return flows.signed(flows.request(PROMOTE), "ada")


def other_signature(flows: RequestedFlows) -> str:
    """The signature of another request."""
    one, other = flows.request(PROMOTE), flows.request(PROMOTE)
    return f"{one.signed_bytes.decode()}\n{flows.folder.sign(other.signed_bytes, 'ada', REQUEST_SIGNATURE_NAMESPACE)}"


def without_signers(flows: RequestedFlows) -> str:
    """The file of keys is gone."""
    text = flows.signed(flows.request(PROMOTE), "ada")
    (flows.config.configs / "allowed_signers").unlink()
    return text


def proof(order: RunOrder = PROMOTE, secret: str = TOKEN, **fields: Any) -> Forge:
    """A proof of the installation."""
    return lambda flows: make_run_proof(flows.request(order, **fields), secret)


def copied(flows: RequestedFlows) -> str:
    """A proof that another run has used."""
    text = wiring.prove_run_request(flows.config, PROMOTE, "cli:ada")["request"]
    permit = wiring.build_run_permit_check(flows.config, PROMOTE, text, "another run/1")
    assert permit is not None
    permit()
    return text


def edited_proof(flows: RequestedFlows) -> str:
    """A proof for version 3 that was edited to be for version 2."""
    text = make_run_proof(flows.request(replace(PROMOTE, version="3")), TOKEN)
    return text.replace('"version":"3"', '"version":"2"')


def signed_proof(flows: RequestedFlows) -> str:
    """The line of a proof with the signature of a person."""
    line = make_run_proof(flows.request(PROMOTE), TOKEN).partition("\n")[0]
    return f"{line}\n{flows.folder.sign(line.encode(), 'ada', REQUEST_SIGNATURE_NAMESPACE)}"


CASES: Cases = {
    "forged": (lambda flows: flows.signed(flows.request(PROMOTE), "eve"), "is not in allowed_signers"),
    "revoked": (revoked, "does not verify"),
    "two people": (two_people, "is not that of one person"),
    "expired": (changed(expires=int(time.time()) - 1), "it has expired"),
    "endless": (changed(expires=int(time.time()) + 10**6), "for longer than 24 hours"),
    "replayed": (used, "it was used before"),
    "other model": (about(replace(PROMOTE, model="other")), "it is about model other, and the run about m"),
    "other version": (about(replace(PROMOTE, version="3")), "it is about version 3, and the run about 2"),
    "other flow": (about(replace(ROLLBACK, version="2")), "it is about flow rollback, and the run about promote"),
    "force": (about(replace(PROMOTE, force=True)), "it is about force = true, and the run about false"),
    "mode": (about(replace(PROMOTE, mode="immediate")), "it is about mode immediate, and the run about none"),
    "other installation": (changed(installation="0" * 16), "made for another installation"),
    "other person": (changed(actor="cli:bob"), "names another person than its signature"),
    "short nonce": (changed(nonce="1"), "its nonce has not"),
    "edited reason": (edited("it is better", "it is faster"), "does not verify"),
    "edited version": (edited('"version":"2"', '"version":"02"'), "does not verify"),
    "other namespace": (lambda f: f.signed(f.request(PROMOTE), "ada", "approval@surefoot"), "approval@surefoot"),
    "namespace of git": (lambda f: f.signed(f.request(PROMOTE), "ada", "git"), "was made for namespace 'git'"),
    "other signature": (other_signature, "does not verify"),
    "no keys": (without_signers, "allowed_signers"),
    "no signature": (lambda f: f.request(PROMOTE).signed_bytes.decode(), "the text has no signature"),
    "cut": (lambda f: f.signed(f.request(PROMOTE), "ada")[:-40], "the signature is cut off"),
    "other field": (edited('"force"', '"forced"'), "has not the fields of a request"),
    "other type": (edited('"force":false', '"force":0'), "field force of the statement has another type"),
    "nothing": (lambda _flows: "x", "the text has no signature"),
    "not UTF-8": (lambda _flows: "\udcff\x00", "the text has no signature"),
    "huge": (lambda _flows: "x" * 20_000, "more than 16,384 bytes"),
    "deep": (edited("{", "[" * 5000), "the statement is not JSON"),
    "proof for another version": (proof(replace(PROMOTE, version="3")), "it is about version 3"),
    "proof for another model": (proof(replace(PROMOTE, model="other")), "it is about model other"),
    "proof for another flow": (proof(replace(ROLLBACK, version="2")), "it is about flow rollback"),
    "proof with force": (proof(replace(PROMOTE, force=True)), "it is about force = true"),
    "proof of another run": (copied, "it was used before"),
    "proof that is over": (proof(expires=1), "it has expired"),
    "proof of another secret": (proof(PROMOTE, "another"), "not made by a process of this"),
    "edited proof": (edited_proof, "not made by a process of this installation"),
    "signed proof": (signed_proof, "not made by a process of this installation"),
    "proof without its digest": (lambda f: proof()(f).partition("\n")[0], "not made by a process of this"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_request_that_does_not_count_is_refused(flows: RequestedFlows, case: str) -> None:
    """Forged, stale, replayed, edited and foreign requests and proofs begin nothing; the run says why in one line."""
    forge, needle = CASES[case]
    text = forge(flows)
    said = flows.refused(PROMOTE, text)
    assert needle in said, said
    assert said.startswith("promote of m was not begun: its request does not count: "), said


def test_a_rollback_goes_only_where_its_request_says(flows: RequestedFlows) -> None:
    """A request to go back to the last proven-good version is none for a version by name, nor for another mode."""
    flows.open()
    for order in (replace(ROLLBACK, version="1"), replace(ROLLBACK, mode="immediate")):
        said = flows.refused(order, flows.signed(flows.request(ROLLBACK)))
        assert "it is about" in said
    assert "promote" in flows.refused(ROLLBACK, flows.signed(flows.request(PROMOTE)))


def test_a_task_that_is_tried_again_has_its_request(flows: RequestedFlows) -> None:
    """A used request counts for further tries of the same attempt of its run, and for no other attempt or run."""
    text = flows.signed(flows.request(PROMOTE))

    def ask(run: str) -> str:
        permit = wiring.build_run_permit_check(flows.config, PROMOTE, text, run)
        assert permit is not None
        return permit().actor

    assert {ask("run/0"), ask("run/0")} == {"signed:olga@example.com"}
    for other in ("run/1", "another/0", ""):
        with pytest.raises(RequestInvalid, match="used before"):
            ask(other)


def test_an_open_rollout_is_gone_on_with_without_a_request(flows: RequestedFlows) -> None:
    """A run that joins the rollout of its version needs none, a run for another version does; so for a rollback."""
    rollout = flows.open()
    head = flows.heads()
    joined = flows.run(PROMOTE)
    assert isinstance(joined, tuple)
    assert (joined[0], flows.heads()) == (rollout, head)
    assert "surefoot request promote m 3" in flows.refused(replace(PROMOTE, version="3"))
    with flows.flow_ports() as ports:
        end_rollout(ports, "m", Stage.ABORTED, "a test")
    assert flows.run(ROLLBACK) == rollout
    assert fold_entries("m", flows.entries()).open == ""


def test_a_run_that_may_only_join_opens_nothing(flows: RequestedFlows) -> None:
    """Where the rollout has ended in between, a run that is not known to be permitted opens no other one."""
    flows.open()
    with flows.flow_ports() as ports:
        end_rollout(ports, "m", Stage.ABORTED, "a test")
        drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
        head = flows.heads()
        with pytest.raises(TransitionIllegal, match="is over"):
            open_promotion(ports, replace(flows.env.request(force=True), join_only=True))
    assert flows.heads() == head


def test_runs_of_our_own_go_on_as_before(flows: RequestedFlows) -> None:
    """A run with a proof of the installation opens its rollout in the name of the run, with the reason of the run."""
    text = wiring.prove_run_request(flows.config, PROMOTE, "cli:ada")["request"]
    flows.run(PROMOTE, text)
    opened = next(entry for entry in flows.entries() if entry.kind == "RolloutOpened")
    assert (opened.actor, opened.data["reason"]) == ("flow:a flow/local", PROMOTE.reason)


def test_a_broken_file_of_roles_stops_no_signed_rollback(flows: RequestedFlows) -> None:
    """A rollback that a person has signed goes on and is recorded; a promotion is refused with file and line."""
    flows.roles.write_text("roles: [broken\n")
    assert "roles.yaml:" in flows.refused(PROMOTE, flows.signed(flows.request(PROMOTE)))
    rollout = flows.open()
    assert flows.run(ROLLBACK, flows.signed(flows.request(ROLLBACK))) == rollout
    assert any("done, since the file of roles is broken" in str(line["outcome"]) for line in flows.log())


def test_without_a_file_of_roles_no_run_is_asked(flows: RequestedFlows) -> None:
    """Runs without a request go on as before; a request that is given all the same names its person, or is refused."""
    flows.roles.unlink()
    assert wiring.prove_run_request(flows.config, PROMOTE, "cli:ada") == {}
    assert "does not verify" in flows.refused(PROMOTE, edited("it is better", "x")(flows))
    flows.run(PROMOTE)
    flows.run(ROLLBACK, flows.signed(flows.request(ROLLBACK), "sam"))
    actors = {entry.kind: entry.actor for entry in flows.entries()}
    assert (actors["RolloutOpened"], actors["EndDecided"]) == ("flow:a flow/local", "signed:sam@example.com")


def test_the_command_prints_what_the_form_takes(flows: RequestedFlows, capsys: pytest.CaptureFixture[str]) -> None:
    """`surefoot request` signs with a key file; what it prints counts for that run, also with the ends of Windows."""
    key = str(flows.folder.keys["bob"])
    assert flows.command("request", "promote", "m", "2", "-m", "it  is\nbetter", "--force", "--key", key) == 0
    text = capsys.readouterr().out
    flows.run(replace(PROMOTE, force=True), text.replace("\n", "\r\n") + "  ")
    opened = next(entry for entry in flows.entries() if entry.kind == "RolloutOpened")
    assert (opened.actor, opened.data["reason"]) == ("signed:bob@example.com", "it is better")
    words = ("request", "rollback", "m", "-m", "x", "--mode", "immediate", "--key", key)
    assert flows.command(*words) == 0
    flows.run(replace(ROLLBACK, mode="immediate"), capsys.readouterr().out)
    assert fold_entries("m", flows.entries()).open == ""


def test_a_request_can_be_signed_elsewhere(
    flows: RequestedFlows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --write nothing is signed; the printed commands make the text that counts."""
    file = tmp_path / "request"
    assert flows.command("request", "promote", "m", "2", "-m", "x", "--write", str(file)) == 0
    said = capsys.readouterr().out
    sign = said.splitlines()[0].removeprefix("sign it with: ").replace("KEY", str(flows.folder.keys["olga"]))
    subprocess.run(sign.split(), check=True, capture_output=True)
    show = said.splitlines()[1].partition("prints: ")[2]
    text = subprocess.run(["sh", "-c", show], check=True, capture_output=True, text=True).stdout
    flows.run(PROMOTE, text)
    assert "signed:olga@example.com" in {entry.actor for entry in flows.entries()}


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--expires", "25h"], "at most 24h"),
        (["--expires", "0s"], "at most 24h"),
        (["--expires", "soon"], "a time such as 30m"),
        (["--key", "/no/such/key"], "does not sign with /no/such/key"),
        (["--write", "/no/such/folder/file"], "cannot be written"),
    ],
)
def test_a_wrong_request_command_is_one_line(
    flows: RequestedFlows, capsys: pytest.CaptureFixture[str], words: list[str], needle: str
) -> None:
    """A time that is too long or none, a key that does not sign, a file that cannot be written: exit code 2."""
    key = [] if "--key" in words else ["--key", str(flows.folder.keys["olga"])]
    assert flows.command("request", "promote", "m", "2", "-m", "x", *key, *words) == 2
    said = capsys.readouterr()
    assert (said.out, needle in " ".join(said.err.split())) == ("", True), said.err


def test_the_log_of_requests_tells_no_secret(flows: RequestedFlows) -> None:
    """Neither a refused nor an accepted request stands in the log, and the installation's secret does not either."""
    text = flows.signed(flows.request(PROMOTE))
    flows.run(PROMOTE, text)
    flows.refused(replace(PROMOTE, version="3"), text)
    kept = json.dumps(flows.log())
    assert text[:60] not in kept
    assert TOKEN not in kept + text


@pytest.fixture(scope="module")
def prefect() -> Iterator[None]:
    """A Prefect server of its own."""
    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.mark.usefixtures("prefect")
def test_a_refused_flow_run_is_red_and_named_for_it(flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flows themselves end FAILED and named RequestRefused without a request, and go on with one that counts."""
    from flows.promote import promote  # noqa: PLC0415 - Prefect takes seconds
    from flows.rollback import rollback  # noqa: PLC0415 - same

    monkeypatch.setattr("tasks.promote.show_journal_in_mlflow", lambda _model: 0)
    state = promote("m", "2", request="", return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "RequestRefused")
    assert "'surefoot request promote m 2 -m REASON'" in str(state.message)
    assert flows.heads() == {}
    flows.open()
    head = flows.heads()
    state = rollback("m", "x", return_state=True)
    assert (state.type.value, state.name, flows.heads()) == ("FAILED", "RequestRefused", head)
    text = flows.signed(flows.request(ROLLBACK))
    state = rollback("m", "x", request=text, return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Aborted")
    flows.open(number="3")
    state = rollback("m", "x", request=text, return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "RequestRefused")
    assert "it was used before" in str(state.message)


@pytest.mark.usefixtures("prefect")
def test_a_run_that_is_started_again_is_another_attempt() -> None:
    """Tries of a task within a run have one attempt; after Retry in Prefect the same run has another one."""
    seen: list[str] = []

    @task(retries=1)
    def note() -> None:
        seen.append(identify_flow_run_attempt())
        if len(seen) == 1:
            raise ValueError("tried again")

    @flow
    def noted() -> None:
        note()

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(noted)
        run_flow(noted, flow_run=run)
        client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
        run_flow(noted, flow_run=client.read_flow_run(run.id))
    assert len(seen) == 3
    assert seen[0] == seen[1] != seen[2]
    assert {one.partition("/")[0] for one in seen} == {str(run.id)}


def _task_states(run: UUID | None) -> dict[str, tuple[str, str]]:
    """Type and name of the state of each task of a flow run, in their order."""
    assert run is not None
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return {one.name: (one.state.type.value, str(one.state.name)) for one in tasks if one.state is not None}


@pytest.mark.usefixtures("prefect")
def test_a_run_shows_no_stage_as_done_that_was_not(flows: RequestedFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that a run finds behind it is named Skipped, with the reason, and a bake that goes on is named Baking."""
    from flows.promote import promote  # noqa: PLC0415 - Prefect takes seconds

    flows.roles.unlink()
    monkeypatch.setattr("tasks.stage_driver.open_flow_ports", lambda *_: flows.flow_ports())
    for module in ("promote", "stage_driver"):
        monkeypatch.setattr(f"tasks.{module}.show_journal_in_mlflow", lambda _model: 0)
    state = promote("m", "2", return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Baking"), state.message
    stages = ("validate", "shadow", "canary step 1", "canary step 2", "promote")
    done, bakes = ("COMPLETED", "Completed"), {"bake m": ("COMPLETED", "Baking")}
    first = _task_states(state.state_details.flow_run_id)
    assert first == {**dict.fromkeys(("open", *stages), done), **bakes}
    again = promote("m", "2", return_state=True)
    assert again.name == "Baking"
    skipped = dict.fromkeys(stages, ("COMPLETED", "Skipped"))
    assert _task_states(again.state_details.flow_run_id) == {"open": done, **skipped, **bakes}
