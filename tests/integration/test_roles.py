"""Who may do what: each role, by command and over HTTP, in front of a real journal and a real gateway."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st

from surefoot.adapters.access.access_log import ACCESS_LOG
from surefoot.adapters.access.token_file import TOKENS_FILE, TokenFile
from surefoot.core.access.roles import Role
from surefoot.core.access.webhook_messages import WEBHOOK_PATH, derive_webhook_secret, sign_webhook
from surefoot.core.journal.chain import check_chain
from surefoot.settings import Settings
from surefoot.status_page.page_server import serve_status_page
from surefoot.status_page.programs.wake_signal import WakeSignal
from surefoot.status_page.sign_in import SESSION_COOKIE, form_token, make_link_key
from surefoot.wiring import AccessControl
from tests import local_http
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import listening
from tests.integration.gateway_process import TOKEN, Models

ROLES = """\
groups: { payments: [fraud, chargeback] }
roles:
  "*": { admin: [ada], viewer: [vera] }
  payments: { operator: [pia], approver: [anton] }
  flights: { operator: [olga] }
"""
PERSONS = ("ada", "vera", "pia", "anton", "sam")
OPERATING: dict[str, list[str]] = {
    "abort": ["abort", "M", "-m", "x"],
    "rollback": ["rollback", "M", "-m", "x"],
    "pause": ["pause", "M", "-m", "x"],
    "resume": ["resume", "M"],
    "freeze": ["freeze", "M", "-m", "x"],
    "unfreeze": ["unfreeze", "M"],
    "promote": ["promote", "M", "2", "--here"],
    "restore": ["data", "M", "--restore", "t"],
    "note": ["playbook", "M", "--done", "step"],
}
APPROVING: dict[str, list[str]] = {
    "approve": ["approve", "M", "--yes"],
    "deny": ["deny", "M", "--yes"],
    "release": ["release", "M", "2", "-m", "x"],
}
EVERYWHERE: dict[str, list[str]] = {
    "kill": ["kill", "--lift"],
    "freeze all": ["freeze", "--all", "-m", "x", "--until", "1s"],
    "tokens": ["token", "create", "bot", "--role", "viewer"],
    "webhook": ["webhook"],
    "forget": ["forget", "fraud", "--unit", "N1", "-m", "x", "--skip-servers"],
}
LABELS = [{"request": "r1", "row": 0, "label": 1}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Emergency]:
    """A gateway that asks for tokens, a journal, and the controller's HTTP application, with a file of roles."""
    home = tmp_path_factory.mktemp("roles") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUREFOOT_HOME", str(home))
        access = AccessControl(_config(home))
        with listening(home / "gateway", models, label_access=access) as gateway:
            made = Emergency(home, gateway)
            made.config = replace(made.config, page=f"http://127.0.0.1:{free_port()}")
            made.config.save()
            (home / "configs").mkdir()
            (home / "configs" / "roles.yaml").write_text(ROLES)
            made.ramp()
            made.signal = WakeSignal()  # type: ignore[attr-defined]
            with serve_status_page(made.config, made.signal):  # type: ignore[attr-defined]
                yield made
            made.journal.close()


def _config(home: Path) -> Settings:
    """Settings of which only the folders count."""
    return Settings(home, home, "", "", "", TOKEN)


@pytest.fixture(autouse=True)
def _roles(stack: Emergency) -> Iterator[None]:
    """The file of roles as it was, and no tokens, for each test."""
    yield
    (stack.home / "configs" / "roles.yaml").write_text(ROLES)
    (stack.home / TOKENS_FILE).unlink(missing_ok=True)


@pytest.fixture
def run(
    stack: Emergency, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a command as an account of this host; its exit code and what it printed."""

    def run(person: str, *words: str) -> tuple[int, str]:
        monkeypatch.setattr("pwd.getpwuid", lambda _number: SimpleNamespace(pw_name=person))
        monkeypatch.setenv("LOGNAME", "ada")  # a variable gives no role
        code = stack.command(*words)
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def heads(stack: Emergency) -> dict[str, tuple[int, str]]:
    """The heads of all journals."""
    return stack.journal.heads()


def token(stack: Emergency, role: Role, *models: str, name: str = "bot", life: float = 3600.0) -> str:
    """An access token."""
    now = time.time()
    return TokenFile(stack.home).create(name, role, models or ("*",), now, now + life, "cli:ada")[0]


def ask(stack: Emergency, path: str, given: str | None, body: object = None, method: str = "POST") -> httpx.Response:
    """Ask the JSON interface, or the gateway for labels, with an authorization header."""
    base = stack.config.gateway if path.endswith("/labels") else stack.config.page
    headers = {} if given is None else {"authorization": given}
    return local_http.request(method, base + path, headers=headers, json=body, timeout=60.0)


@pytest.mark.parametrize("person", PERSONS)
def test_each_command_asks_for_its_role(stack: Emergency, run: Callable[..., tuple[int, str]], person: str) -> None:
    """Of every command, each person may give those of their roles; another one is refused and changes nothing."""
    operator, approver = {"ada": "*", "pia": "fraud"}.get(person), {"ada": "*", "anton": "fraud"}.get(person)
    cells = [
        (commands, allowed in ("*", model), model)
        for model in ("fraud", "other")
        for commands, allowed in ((OPERATING, operator), (APPROVING, approver))
    ]
    for commands, allowed, model in [*cells, (EVERYWHERE, person == "ada", "")]:
        for name, words in commands.items():
            before = heads(stack)
            code, said = run(person, *(model if word == "M" else word for word in words))
            assert ("may not" not in said) is allowed, (person, name, model, said)
            if not allowed:
                assert (code, said.count("\n"), heads(stack)) == (2, 1, before), (person, name, model, said)


@pytest.mark.parametrize(("option", "right"), [("--override-freeze", "override a freeze"), ("--force", "release")])
def test_an_operator_alone_overrides_nothing(run: Callable[..., tuple[int, str]], option: str, right: str) -> None:
    """To promote in spite of a freeze or a quarantine takes the approver's role besides the operator's."""
    for person in ("pia", "anton"):
        code, said = run(person, "promote", "fraud", "2", "--here", "-m", "x", option)
        assert (code, "may not do this" in said) == (2, True), said
    assert (
        f"{right} of fraud needs the role approver or admin"
        in run("pia", "promote", "fraud", "2", option, "-m", "x")[1]
    )
    assert "may not" not in run("ada", "promote", "fraud", "2", "--here", "-m", "x", option)[1]


@pytest.mark.parametrize("role", list(Role))
def test_each_request_asks_for_its_role(stack: Emergency, role: Role) -> None:
    """Of every HTTP endpoint that acts, a token may ask what its role allows, of its own models alone."""
    given = f"Bearer {token(stack, role, 'other', MODEL) if role is Role.REPORTER else token(stack, role, 'other')}"
    operator = role in {Role.OPERATOR, Role.ADMIN}
    before = heads(stack)
    for model in ("other", MODEL):
        mine = model == "other"
        for action in ("abort", "rollback", "pause", "resume"):
            answer = ask(stack, f"/api/models/{model}/{action}", given, {"reason": "x"})
            expected = {404, 409} if operator and mine else {403}  # the journal holds nothing of it
            assert answer.status_code in expected, (role, model, action, answer.text)
            assert answer.json()["error"].count("\n") == 0
        seen = ask(stack, f"/api/models/{model}", given, method="GET").status_code
        assert seen == (404 if mine and role is not Role.REPORTER else 403), (role, model)
    labels = ask(stack, f"/models/{MODEL}/labels", given, LABELS)
    assert labels.status_code == (202 if role is Role.REPORTER else 403), labels.text
    assert heads(stack) == before


def test_an_operator_acts_at_any_time_under_its_own_name(stack: Emergency) -> None:
    """A token pauses, resumes and rolls back, with any text for a reason, and the journal names it."""
    given = f"Bearer {token(stack, Role.OPERATOR, MODEL, name='night-shift')}"
    if not stack.ports.ledger(MODEL).open:
        stack.ramp()
    head = stack.ports.ledger(MODEL).head
    assert ask(stack, f"/api/models/{MODEL}/pause", given, {"reason": "look first"}).status_code == 200
    assert ask(stack, f"/api/models/{MODEL}/resume", given).status_code == 200
    shown = ask(stack, f"/api/models/{MODEL}", given, method="GET").json()
    assert (shown["champion"], shown["rollout"]["stage"]) == ("1", "Ramping")
    url = f"{stack.config.page}/api/models/{MODEL}/rollback"
    told = local_http.post(url, headers={"authorization": given}, content=b"\xff{" * 30_000, timeout=60.0)
    assert "answers everything" in told.json()["told"], told.text
    assert stack.live().weight == 0.0
    entries = stack.journal.read(MODEL)
    assert {entry.actor for entry in entries[head:]} == {"token:night-shift"}
    check_chain(entries)
    again = ask(stack, f"/api/models/{MODEL}/abort", given, {"reason": "x"})
    assert again.status_code == 409  # there is nothing left to abort
    stack.ramp()


def test_no_token_that_does_not_count_is_taken(stack: Emergency) -> None:
    """Without a token, with a forged, cut, longer, expired or revoked one, or another secret: 401 and no change."""
    good = token(stack, Role.ADMIN)
    expired = token(stack, Role.ADMIN, name="old", life=-1.0)
    revoked = token(stack, Role.ADMIN, name="gone")
    TokenFile(stack.home).revoke("gone", time.time(), "cli:ada")
    digest = json.loads((stack.home / TOKENS_FILE).read_text())["tokens"][0]["digest"]
    forged = [None, "", "Bearer", good, f"Basic {good}", f"Bearer {good[:-1]}", f"Bearer {good}x"]
    forged += [f"Bearer {expired}", f"Bearer {revoked}", f"Bearer {digest}", f"Bearer {TOKEN}", f"Bearer {'x' * 5000}"]
    forged += [f"Bearer sft_{secrets.token_urlsafe(32)}", f"Bearer {good.swapcase()}", f"Bearer {good},{good}"]
    forged += [f"Basic {base64.b64encode(f'ada:{good}'.encode()).decode()}"]
    before = heads(stack)
    for header in forged:
        for path in (f"/api/models/{MODEL}/rollback", f"/models/{MODEL}/labels"):
            answer = ask(stack, path, header, LABELS)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (header, answer.text)
        assert ask(stack, f"/api/models/{MODEL}", header, method="GET").status_code == 401
    assert (heads(stack), stack.live().weight) == (before, 50.0)
    assert ask(stack, f"/models/{MODEL}/labels", f"Bearer {good}", LABELS).status_code == 202
    lines = [json.loads(line) for line in (stack.home / ACCESS_LOG).read_text().splitlines()]
    assert lines[-1]["actor"] == "unknown"
    assert good not in (stack.home / ACCESS_LOG).read_text()


def test_tokens_are_made_shown_once_listed_and_revoked_by_command(
    stack: Emergency, run: Callable[..., tuple[int, str]]
) -> None:
    """An admin makes a token, whose secret no later command and no file shows, and ends it; names are checked."""
    code, said = run("ada", "token", "create", "ci", "--role", "reporter", "--expires", "12h", "--model", MODEL)
    secret = said.splitlines()[0]
    assert (code, secret[:4]) == (0, "sft_")
    assert ask(stack, f"/models/{MODEL}/labels", f"Bearer {secret}", LABELS).status_code == 202
    code, listed = run("sam", "token", "list")
    assert code == 0
    assert all(word in listed for word in ("ci", "reporter", MODEL, "in force", "cli:ada"))
    assert secret not in listed + "".join(file.read_text() for file in stack.home.glob("*.json"))
    assert run("sam", "token", "revoke", "ci")[0] == 2
    assert run("ada", "token", "revoke", "ci")[0] == 0
    assert ask(stack, f"/models/{MODEL}/labels", f"Bearer {secret}", LABELS).status_code == 401
    for words in (["a b"], ["x", "--expires", "0s"], ["x", "--expires", "never"], ["x", "--model", "a/b"]):
        code, said = run("ada", "token", "create", *words, "--role", "viewer")
        assert (code, said.count("\n")) == (2, 1), said
    shown = json.loads(run("ada", "token", "list", "--json")[1])["tokens"]
    assert [(one["name"], one["state"], one["revoked_by"]) for one in shown] == [("ci", "revoked", "cli:ada")]


def test_the_page_asks_for_the_role_of_the_person(stack: Emergency) -> None:
    """Only who may act is shown buttons; a request without the role is answered with 403 in one line and recorded."""
    if not stack.ports.ledger(MODEL).open:
        stack.ramp()
    before = heads(stack)
    for person, status in (("vera", 403), ("pia", 403), ("olga", 303)):
        with closing(httpx.Client(base_url=stack.config.page, timeout=60.0, trust_env=False)) as client:
            client.get("/sign-in", params={"key": make_link_key(stack.config.token, person, time.time())})
            page = client.get(f"/models/{MODEL}").text
            assert ('name="action" value="pause"' in page) == (status == 303)
            assert (f"gives {person} no role that acts on this model" in page) == (status == 403)
            form = {"form_token": form_token(stack.config.token, client.cookies[SESSION_COOKIE]), "reason": "x"}
            answer = client.post(f"/models/{MODEL}/act", data={**form, "action": "pause"})
            assert answer.status_code == status, answer.text
            if status == 403:
                assert answer.text.startswith(
                    f"page:{person} may not do this: pause of {MODEL} needs the role operator"
                )
                assert heads(stack) == before
                assert f"page:{person}" in (stack.home / ACCESS_LOG).read_text().splitlines()[-1]
                continue
            client.post(f"/models/{MODEL}/act", data={**form, "action": "resume"})
    assert {entry.actor for entry in stack.journal.read(MODEL)[before[MODEL][0] :]} == {"page:olga"}


def test_a_broken_file_of_roles_stops_no_emergency(stack: Emergency, run: Callable[..., tuple[int, str]]) -> None:
    """Where it cannot be read, abort works for accounts of the host and is recorded; other acts are refused."""
    if not stack.ports.ledger(MODEL).open:
        stack.ramp()
    (stack.home / "configs" / "roles.yaml").write_text("roles: [broken\n")
    code, said = run("olga", "pause", MODEL, "-m", "x")
    assert (code, "roles.yaml:" in said) == (2, True)
    given = f"Bearer {token(stack, Role.OPERATOR, 'other')}"
    assert ask(stack, f"/api/models/{MODEL}/abort", given).status_code == 403  # a token needs no file
    assert run("olga", "abort", MODEL, "-m", "the file is broken")[0] == 0
    assert stack.live().weight == 0.0
    assert "done, since the file of roles is broken" in (stack.home / ACCESS_LOG).read_text()
    stack.ramp()


def test_without_a_file_of_roles_all_is_as_before(stack: Emergency, run: Callable[..., tuple[int, str]]) -> None:
    """Every account acts and every sender reports labels; the JSON interface asks for a token all the same."""
    (stack.home / "configs" / "roles.yaml").unlink()
    assert run("sam", "freeze", MODEL, "-m", "x")[0] == 0
    assert run("sam", "unfreeze", MODEL)[0] == 0
    assert ask(stack, f"/models/{MODEL}/labels", None, LABELS).status_code == 202
    assert ask(stack, f"/api/models/{MODEL}/abort", None).status_code == 401


def webhook(stack: Emergency, signed: bytes, **changes: str) -> httpx.Response:
    """Send a webhook that is right but for some changes."""
    delivery, at = changes.get("delivery", secrets.token_hex(8)), changes.get("at", str(int(time.time())))
    right = sign_webhook(changes.get("secret", derive_webhook_secret(TOKEN)), delivery, at, signed)
    sent = {"delivery-id": delivery, "timestamp": at, "signature": right}
    sent |= {name.removeprefix("sent_").replace("_", "-"): value for name, value in changes.items() if "sent_" in name}
    headers = {f"x-mlflow-{name}": value for name, value in sent.items() if value != "left out"}
    url = stack.config.page + WEBHOOK_PATH
    return local_http.post(url, content=changes.get("body", "").encode() or signed, headers=headers)


def event(name: object, entity: str = "model_version_alias", action: str = "created") -> bytes:
    """The body of a webhook."""
    return json.dumps({"entity": entity, "action": action, "timestamp": "t", "data": {"name": name}}).encode()


def test_a_webhook_wakes_the_controller_for_its_model(stack: Emergency) -> None:
    """One that is right wakes for its model; a test message and other events are taken and wake for none."""
    signal: WakeSignal = stack.signal  # type: ignore[attr-defined]
    signal.take()
    assert webhook(stack, event(MODEL)).status_code == 202
    assert signal.take() == {MODEL}
    for body in (event("example_model"), event(MODEL, "model_version"), event(MODEL, action="set")):
        assert webhook(stack, body).status_code == 202
    assert signal.take() == frozenset()


def test_each_webhook_that_is_not_right_is_refused(stack: Emergency) -> None:
    """Forged, stale, early, replayed, altered, incomplete, malformed and long ones: 4xx, and none wakes."""
    signal: WakeSignal = stack.signal  # type: ignore[attr-defined]
    now, good = int(time.time()), event(MODEL)
    assert webhook(stack, good, delivery="taken-before").status_code == 202
    signal.take()
    attempts: list[tuple[bytes, dict[str, str]]] = [
        (good, {"secret": "another"}),
        (good, {"secret": TOKEN}),
        (good, {"at": str(now - 400)}),
        (good, {"at": str(now + 400)}),
        (good, {"at": "-1"}),
        (good, {"at": "1e9"}),
        (good, {"at": "9" * 400}),
        (good, {"sent_timestamp": str(now - 7)}),
        (good, {"sent_delivery_id": secrets.token_hex(8)}),
        (good, {"delivery": "x"}),
        (good, {"delivery": "../../etc/passwd"}),
        (good, {"delivery": "x" * 300}),
        (good, {"body": '{"entity": "model_version_alias", "action": "created", "data": {"name": "other"}}'}),
        (good, {"sent_signature": "left out"}),
        (good, {"sent_timestamp": "left out"}),
        (good, {"sent_delivery_id": "left out"}),
        (good, {"sent_signature": "v2,AAAA"}),
        (good, {"sent_signature": "v1,"}),
        (b"", {}),
        (b"[]", {}),
        (b"null", {}),
        (b"\xff\xfe", {}),
        (b"[" * 50_000, {}),
        (b'{"entity": 1}', {}),
        (event(None), {}),
        (event(["x"]), {}),
        (event("a/b"), {}),
        (event("m" * 100_000), {}),
    ]
    for body, changes in attempts:
        answer = webhook(stack, body, **changes)
        assert (answer.status_code, answer.text.count("\n")) == (401, 0), (body[:60], changes, answer.text)
    assert webhook(stack, good, delivery="taken-before").status_code == 409
    assert signal.take() == frozenset()


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.data())
def test_no_request_makes_an_error_of_the_server_or_changes_anything(stack: Emergency, data: st.DataObject) -> None:
    """Whatever method, headers and body come to the endpoints for programs: no 5xx, no entry, and no model is woken."""
    text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
    actions = st.sampled_from(["abort", "rollback", "pause", "resume", "promote", ""])
    paths = [WEBHOOK_PATH, f"/api/models/{MODEL}", f"/models/{MODEL}/labels"]
    path = data.draw(st.one_of(st.sampled_from(paths), st.builds(f"/api/models/{MODEL}/{{}}".format, actions)))
    names = ["authorization", "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature", "content-type"]
    headers = data.draw(st.dictionaries(st.sampled_from(names), text | text.map("Bearer x{}".format), max_size=5))
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]))
    base = stack.config.gateway if path.endswith("/labels") else stack.config.page
    before, signal = heads(stack), stack.signal  # type: ignore[attr-defined]
    signal.take()
    content = data.draw(st.binary(max_size=80))
    answer = local_http.request(method, base + path, headers=headers, content=content, timeout=30.0)
    assert 300 <= answer.status_code < 500, (method, path, headers, answer.text)
    assert heads(stack) == before
    assert signal.take() == frozenset()
