"""`surefoot doctor` finds the right fault in each broken set-up, with a real MLflow, Prefect and PostgreSQL."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.connecting.rollout import MODEL, Installation
from surefoot.adapters.mlflow.client import RetryingClient
from surefoot.adapters.mlflow.deleted_versions import is_version_deleted
from surefoot.cli.connect.connected_servers import check_connected_servers, find_work_pool_problems
from surefoot.cli.connect.doctor_report import FindingLevel, run_setup_checks
from surefoot.cli.local.prefect_server import _request_prefect
from surefoot.core.errors import Unavailable
from surefoot.settings import Settings
from tests.conftest import free_port
from tests.integration.altering_proxy import altering_proxy, write_certificate
from tests.integration.connected_harness import EDITOR, SECRET, STRANGER, Servers, running_servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that Surefoot has not started, which run as long as these tests."""
    with running_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture
def known(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """The servers, with the right credentials in the environment."""
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    return servers


def faults(config: Settings) -> list[tuple[str, str]]:
    """Part and text of each fault."""
    return [(one.part, one.text) for one in run_setup_checks(config) if one.level is FindingLevel.FAULT]


def test_a_set_up_that_is_well_has_a_line_for_each_thing_that_was_found(known: Servers, tmp_path: Path) -> None:
    """Version and address of each server, both folders, the gateway, the journal and our rights are one line each."""
    found = list(run_setup_checks(known.settings(tmp_path / "home", listen=f"127.0.0.1:{free_port()}")))
    assert {one.level for one in found} == {FindingLevel.OK}, found
    lines = {one.part: one.text for one in found}
    assert list(lines) == ["project", "policies", "home", "gateway", "journal", "mlflow", "rights", "prefect", "pool"]
    assert lines["mlflow"] == f"MLflow 3.17.2 at {known.mlflow.url} (connected)"
    assert lines["prefect"] == f"Prefect 3.8.8 at {known.prefect.url} (connected)"
    assert lines["journal"].startswith(
        f"journal: PostgreSQL {known.postgres.version} at postgresql+psycopg://recorder:***@"
    )
    assert lines["rights"] == f"model {MODEL}: aliases may be set and removed, versions tagged"
    assert not (tmp_path / "home").exists()
    assert known.mlflow.aliases(MODEL) == {}  # looking for the right to move an alias moves none


@dataclass(frozen=True)
class Broken:
    """One broken set-up.

    Attributes:
        part: What the fault is named for.
        says: Parts of the line: what is wrong, where, and what to do.
        changes: Settings that are wrong.
        variables: Environment variables that are wrong; an empty one is not set.
    """

    part: str
    says: tuple[str, ...]
    changes: Callable[[Servers, Path], dict[str, Any]] = lambda _servers, _folder: {}
    variables: tuple[tuple[str, str], ...] = ()


def _file(folder: Path) -> Path:
    (folder / "file").write_text("no folder")
    return folder / "file"


def _project(folder: Path, *names: str) -> Path:
    (folder / "other").mkdir()
    for name in names:
        (folder / "other" / name).touch()
    return folder / "other"


NOWHERE = "http://127.0.0.1:9"
BROKEN = {
    "MLflow does not answer": Broken(
        "mlflow", ("nothing answers as MLflow at http://127.0.0.1:9", "start it"), lambda _s, _f: {"mlflow": NOWHERE}
    ),
    "the address of MLflow is Prefect's": Broken(
        "mlflow", ("answers 401, but not as MLflow", "correct the address"), lambda s, _f: {"mlflow": s.prefect.url}
    ),
    "the address of MLflow is of a server without credentials that is none": Broken(
        "mlflow", ("answers, but not as MLflow (404", "correct the address"), lambda s, _f: {"mlflow": s.other}
    ),
    "the address of Prefect is of a server without credentials that is none": Broken(
        "prefect", ("answers, but not as Prefect (404", "correct the address"), lambda s, _f: {"prefect": s.other}
    ),
    "MLflow's password is wrong": Broken(
        "mlflow",
        ("refuses user 'surefoot-bot' (401)", "correct MLFLOW_TRACKING_USERNAME"),
        variables=(("MLFLOW_TRACKING_PASSWORD", "wrong-password-1"),),
    ),
    "MLflow's password is missing": Broken(
        "mlflow",
        ("asks for credentials (401)", "set MLFLOW_TRACKING_USERNAME"),
        variables=(("MLFLOW_TRACKING_USERNAME", ""), ("MLFLOW_TRACKING_PASSWORD", "")),
    ),
    "no right to move aliases": Broken(
        "rights",
        (f"does not let stranger move aliases of model {MODEL} (403)", "grant MANAGE on it"),
        variables=(("MLFLOW_TRACKING_USERNAME", STRANGER[0]), ("MLFLOW_TRACKING_PASSWORD", STRANGER[1])),
    ),
    "no right to remove aliases": Broken(
        "rights",
        (f"does not let editor remove aliases of model {MODEL} (403)", "grant MANAGE on it"),
        variables=(("MLFLOW_TRACKING_USERNAME", EDITOR[0]), ("MLFLOW_TRACKING_PASSWORD", EDITOR[1])),
    ),
    "Prefect does not answer": Broken(
        "prefect", ("nothing answers as Prefect at http://127.0.0.1:9",), lambda _s, _f: {"prefect": NOWHERE}
    ),
    "the address of Prefect is MLflow's": Broken(
        "prefect", ("answers 401, but not as Prefect", "correct the address"), lambda s, _f: {"prefect": s.mlflow.url}
    ),
    "Prefect's auth string is missing": Broken(
        "prefect",
        ("asks for credentials (401)", "set PREFECT_API_AUTH_STRING"),
        variables=(("PREFECT_API_AUTH_STRING", ""),),
    ),
    "Prefect's auth string is wrong": Broken(
        "prefect",
        ("refuses our credentials (401)", "correct PREFECT_API_AUTH_STRING"),
        variables=(("PREFECT_API_AUTH_STRING", "surefoot:wrong"),),
    ),
    "the pool is missing": Broken(
        "pool", ("has no work pool 'nowhere' (it has: boxes, team)",), lambda _s, _f: {"pool": "nowhere"}
    ),
    "the pool is of another type": Broken(
        "pool", ("work pool 'boxes' is of type docker", "of type process"), lambda _s, _f: {"pool": "boxes"}
    ),
    "a pool without a Prefect": Broken(
        "pool", ("work pool 'team' needs a Prefect", "--prefect"), lambda _s, _f: {"pool": "team", "prefect": ""}
    ),
    "PostgreSQL does not answer": Broken(
        "journal",
        ("does not answer", "start it, or correct the URL"),
        lambda _s, _f: {"journal": "postgresql://recorder:${JOURNAL_PASSWORD}@127.0.0.1:9/journal"},
    ),
    "the journal's password is wrong": Broken(
        "journal", ("refuses user recorder", "correct the password"), variables=(("JOURNAL_PASSWORD", "wrong"),)
    ),
    "the journal's password is not set": Broken(
        "journal", ("environment variable JOURNAL_PASSWORD is not set",), variables=(("JOURNAL_PASSWORD", ""),)
    ),
    "the journal's database is missing": Broken(
        "journal", ("has no database nowhere: create it",), lambda s, _f: {"journal": s.journal("nowhere")}
    ),
    "the journal's user may create nothing": Broken(
        "journal",
        ("may not create table entries there", "GRANT CREATE ON SCHEMA public TO reader"),
        lambda s, _f: {"journal": s.journal(user="reader")},
    ),
    "the journal is in another kind of database": Broken(
        "journal", ("kept in SQLite or PostgreSQL, not in mysql",), lambda _s, _f: {"journal": "mysql://h/d"}
    ),
    "the journal's folder cannot be written": Broken(
        "journal",
        ("cannot be written (Not a directory)", "name another place"),
        lambda _s, f: {"journal": f"sqlite:///{_file(f)}/journal.db"},
    ),
    "the folder is no project": Broken(
        "project", ("has no prefect.yaml", "name it with --project"), lambda _s, f: {"project": _project(f)}
    ),
    "the project has no policies": Broken(
        "policies", ("has no folder configs", "make it"), lambda _s, f: {"project": _project(f, "prefect.yaml")}
    ),
    "the home folder cannot be written": Broken(
        "home", ("cannot be written (Not a directory)", "set SUREFOOT_HOME"), lambda _s, f: {"state": _file(f) / "home"}
    ),
    "the gateway's address is of another host": Broken(
        "gateway",
        ("cannot listen at 192.0.2.1:8080", "name another --listen"),
        lambda _s, _f: {"listen": "192.0.2.1:8080"},
    ),
}


@pytest.mark.sweep  # each costs two seconds of processor time; the command itself is run below every day
@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_is_one_line_that_says_what_to_do(
    known: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One thing is wrong, and one line names it, where it is, and what to do; no line holds a password."""
    broken = BROKEN[name]
    for variable, value in broken.variables:
        monkeypatch.setenv(variable, value)
        if not value:
            monkeypatch.delenv(variable)
    found = faults(known.settings(tmp_path / "home", **broken.changes(known, tmp_path)))
    assert [part for part, _ in found] == [broken.part], found
    assert all(words in found[0][1] for words in broken.says), found
    assert len(found[0][1]) <= 280
    assert "\n" not in found[0][1]
    assert not any(secret in found[0][1] for secret in (SECRET, known.mlflow.bot[1], known.prefect.auth))


def test_a_port_that_is_taken_is_named(known: Servers, tmp_path: Path) -> None:
    """The address of `listen` at which another program listens is a fault."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = faults(known.settings(tmp_path, listen=f"127.0.0.1:{port}"))
    assert [part for part, _ in found] == ["gateway"]
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use)" in found[0][1]


@pytest.mark.parametrize(
    ("server", "path", "version", "says"),
    [
        ("mlflow", "/version", "2.22.1", "is 2.22.1, which is too old: Surefoot works with MLflow 3.x"),
        ("mlflow", "/version", "4.0.0", "is 4.0.0, which is too new"),
        ("prefect", "/api/admin/version", '"2.20.3"', "is 2.20.3, which is too old: Surefoot works with Prefect 3.x"),
        ("prefect", "/api/admin/version", '"4.0.0"', "is 4.0.0, which is too new"),
    ],
)
def test_another_release_is_named(
    known: Servers, tmp_path: Path, server: str, path: str, version: str, says: str
) -> None:
    """A server of a release that was not made for is a fault that names both releases."""
    with altering_proxy(getattr(known, server).url, {path: version}) as url:
        found = faults(known.settings(tmp_path, **{server: url}))
    assert [part for part, _ in found] == [server]
    assert says in found[0][1]


@pytest.mark.parametrize("server", ["mlflow", "prefect"])
def test_a_clock_that_is_far_off_is_named(known: Servers, tmp_path: Path, server: str) -> None:
    """A server whose clock is an hour ahead is a fault; one that is ten seconds ahead is none."""
    with altering_proxy(getattr(known, server).url, clock_s=3600.0) as url:
        found = faults(known.settings(tmp_path, **{server: url}))
    assert [part for part, _ in found] == [server]
    assert "s ahead of this host's: set both by NTP" in found[0][1]
    with altering_proxy(getattr(known, server).url, clock_s=10.0) as url:
        assert faults(known.settings(tmp_path, **{server: url})) == []


@pytest.mark.parametrize(
    ("server", "variable", "insecure"),
    [
        ("mlflow", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS"),
        ("prefect", "PREFECT_API_SSL_CERT_FILE", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"),
    ],
)
def test_a_certificate_of_a_private_authority_is_trusted_when_it_is_named(
    known: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, variable: str, insecure: str
) -> None:
    """The fault names the variable that mends it; with it, or without any check, all is well."""
    file = write_certificate(tmp_path / "certificate.pem")
    with altering_proxy(getattr(known, server).url, certificate=file) as url:
        config = known.settings(tmp_path, **{server: url})
        found = faults(config)
        assert [part for part, _ in found] == [server]
        assert f"is not trusted: set {variable} to the file of its authority" in found[0][1]
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(file))
            assert faults(config) == []
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(tmp_path / "nowhere.pem"))
            assert [part for part, _ in faults(config)] == [server]
        monkeypatch.setenv(insecure, "true")
        assert faults(config) == []


def test_a_token_is_enough(known: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for a token instead of a user gets it: the header is what MLflow's own client sends."""
    seen: list[str | None] = []
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-1")
    monkeypatch.setattr("httpx.Client.send", _recording(seen))
    with contextlib.suppress(AssertionError):
        faults(known.settings(tmp_path))
    assert seen[0] == "Bearer token-1"


def _recording(seen: list[str | None]) -> Callable[..., Any]:
    def send(_client: object, request: Any, **_more: object) -> Any:
        seen.append(request.headers.get("authorization"))
        raise AssertionError

    return send


def test_deployments_of_another_installation_are_not_replaced(known: Servers, tmp_path: Path) -> None:
    """A Prefect on which a flow of ours is deployed for another home folder, or by other software, is refused."""
    flow = known.prefect.ask("POST", "/flows/", {"name": "watch"}).raise_for_status().json()["id"]
    body: dict[str, Any] = {
        "name": "watch",
        "flow_id": flow,
        "job_variables": {"env": {"SUREFOOT_HOME": "/other/home"}},
    }
    made = known.prefect.ask("POST", "/deployments/", body).raise_for_status().json()["id"]
    try:
        ((part, text),) = faults(known.settings(tmp_path))
        assert part == "pool"
        assert "deployment watch/watch at" in text
        assert "belongs to the Surefoot of /other/home" in text
        known.prefect.ask("PATCH", f"/deployments/{made}", {"job_variables": {}}).raise_for_status()
        ((_, text),) = faults(known.settings(tmp_path))
        assert "is not of Surefoot" in text
    finally:
        known.prefect.ask("DELETE", f"/deployments/{made}").raise_for_status()
    assert faults(known.settings(tmp_path)) == []


def test_a_pool_without_a_worker_is_noted(known: Servers, tmp_path: Path) -> None:
    """A pool of somebody else in which nothing runs now is no fault; the note says how to start a worker."""
    config = known.settings(tmp_path, pool="team")
    notes = [one.text for one in run_setup_checks(config) if one.level is FindingLevel.NOTE]
    assert notes == [
        "no worker polls work pool 'team': start one on this host, 'prefect worker start --pool team'",
    ]
    assert find_work_pool_problems(config, 5.0) == notes
    known.prefect.ask("PATCH", "/work_pools/team", {"is_paused": True}).raise_for_status()
    try:
        assert find_work_pool_problems(config, 5.0) == ["work pool 'team' is paused in Prefect: no flow run starts"]
    finally:
        known.prefect.ask("PATCH", "/work_pools/team", {"is_paused": False}).raise_for_status()


def test_a_connected_server_that_is_down_is_told_as_down(known: Servers, tmp_path: Path) -> None:
    """Each connected server is asked for itself: one may be down while the other one is not."""
    up, down = check_connected_servers(known.settings(tmp_path, prefect=NOWHERE), 5.0)
    assert (up.line, up.problem) == (f"MLflow {known.mlflow.url} 3.17.2, connected", "")
    assert down.line == "Prefect http://127.0.0.1:9 is down or cannot be used"
    assert "nothing answers as Prefect" in down.problem
    assert check_connected_servers(known.settings(tmp_path, mlflow="", prefect=""), 5.0) == []


def test_every_client_uses_the_credentials(known: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client, the check without it, and the client of Prefect answer with credentials, and say so without."""
    config = known.settings(tmp_path)
    assert RetryingClient(config.mlflow, 10.0).call(lambda client: client.get_registered_model(MODEL)).name == MODEL
    assert _is_gone(config, "1")
    assert _request_prefect(config, "GET", "/work_pools/team", "trouble").is_success
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "no:body")
    assert not _is_gone(config, "1")  # who is not let in does not know
    with pytest.raises(Unavailable, match="Prefect refuses us"):
        _request_prefect(config, "GET", "/work_pools/team", "trouble")


def _is_gone(config: Settings, number: str) -> bool:
    """Whether MLflow says that a version does not exist; it may be busy at first."""
    return any(is_version_deleted(config.mlflow, MODEL, number) for _ in range(20))


def test_the_command_exits_with_two_and_up_starts_nothing(servers: Servers, tmp_path: Path) -> None:
    """`doctor` prints a line each and exits with 2 on a fault; `up` refuses with the same line and leaves nothing."""
    installation = Installation(tmp_path / "home", servers.folder / "project", servers.environment)
    words = ("--mlflow", NOWHERE, "--prefect", servers.prefect.url, "--journal", servers.journal())
    done = installation.run("doctor", *words, "--json", PREFECT_API_URL="http://elsewhere/api")
    said = json.loads(done.stdout)
    levels = {one["part"]: one["level"] for one in said["findings"]}
    assert (done.returncode, said["ok"], levels["mlflow"], levels["environment"]) == (2, False, "fault", "note")
    up = installation.run("up", *words)
    (fault,) = [one["text"] for one in said["findings"] if one["level"] == "fault"]
    assert (up.returncode, up.stderr.strip()) == (2, f"surefoot: {fault}")
    assert not installation.home.exists()
    both = installation.run("up", "--mlflow", NOWHERE, "--prefect", NOWHERE)
    assert both.returncode == 2
    assert both.stdout.count("fault: ") == 2
    assert "2 faults, named above: nothing was started" in both.stderr
    plain = installation.run("config", *words, "--json")
    settings = json.loads(plain.stdout)["settings"]
    assert settings["mlflow"] == {"value": NOWHERE, "source": "--mlflow"}
    assert settings["tick"] == {"value": "60", "source": "default"}
    assert SECRET not in plain.stdout
    well = installation.run("doctor", "--mlflow", servers.mlflow.url, *words[2:])
    assert (well.returncode, well.stderr) == (0, "")
