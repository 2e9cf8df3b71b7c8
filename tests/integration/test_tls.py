"""Gateway and status page serve https with a given certificate, and every client of ours verifies it."""

import http.client
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from surefoot import wiring
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.cli.connect.doctor_report import FindingLevel, run_setup_checks
from surefoot.cli.connect.setting_sources import resolve_settings
from surefoot.cli.local import stack
from surefoot.cli.local.stack_options import StackOptions, plan_settings, set_server_ports
from surefoot.core.errors import GatewayUnavailable, Rejected
from surefoot.feature_flags.split_follower import SplitFollower
from surefoot.settings import Settings
from surefoot.status_page.page_server import serve_status_page
from surefoot.status_page.sign_in import make_link_key
from surefoot.tls_files import TlsFiles, check_tls_files, make_client_context
from tests.certificates import Certificate, make_certificate
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.test_feature_flags import token
from tests.integration.test_stack import Partial
from tests.integration.waiting import wait_for

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Certificate:
    """A private authority."""
    return make_certificate(folder, "authority", authority=True)


@pytest.fixture(scope="module")
def served(folder: Path, authority: Certificate) -> TlsFiles:
    """A certificate for this host, which the authority has signed."""
    made = make_certificate(folder, "served", LOOPBACK, issuer=authority)
    return TlsFiles(str(made.file), str(made.key_file), str(authority.file), LOOPBACK)


def options(files: TlsFiles, **more: object) -> StackOptions:
    """Options of a stack with TLS."""
    return StackOptions(tls_certificate=files.certificate, tls_key=files.key, tls_ca=files.ca, **more)  # type: ignore[arg-type]


def with_tls(config: Settings, files: TlsFiles) -> Settings:
    """Settings of a stack whose gateway and page have TLS."""
    named = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_ca": files.ca}
    return replace(config, **named, gateway=config.gateway.replace("http:", "https:"))  # type: ignore[arg-type]


def _another(folder: Path, files: TlsFiles, name: str, *hosts: str, **more: object) -> TlsFiles:
    made = make_certificate(folder, name, *hosts, **more)  # type: ignore[arg-type]
    return replace(files, certificate=str(made.file), key=str(made.key_file))


def _written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


FAULTS: dict[str, tuple[Callable[[Path, TlsFiles, Certificate], TlsFiles], str]] = {
    "expired": (
        lambda folder, files, by: _another(folder, files, "old", LOOPBACK, issuer=by, days=(-9, -1)),
        "old.pem is refused by clients (certificate has expired): renew it",
    ),
    "not yet valid": (
        lambda folder, files, by: _another(folder, files, "early", LOOPBACK, issuer=by, days=(1, 9)),
        "(certificate is not yet valid)",
    ),
    "another host": (
        lambda folder, files, by: _another(folder, files, "foreign", "a.example.com", issuer=by),
        "not valid for '127.0.0.1'",
    ),
    "unknown authority": (
        lambda folder, files, by: replace(files, ca=""),
        "or name its authority with --tls-ca",
    ),
    "key of another": (
        lambda folder, files, by: replace(files, key=_another(folder, files, "other", LOOPBACK).key),
        "other.key is not the key of tls-certificate",
    ),
    "key with a password": (
        lambda folder, files, by: _another(folder, files, "locked", LOOPBACK, issuer=by, password=b"secret"),
        "tls-key has a password",
    ),
    "no file": (
        lambda folder, files, by: replace(files, key="/nowhere.key"),
        "tls-key /nowhere.key cannot be read: No",
    ),
    "no PEM": (
        lambda folder, files, by: replace(files, certificate=_written(folder, "text.pem", "hello")),
        "cannot be read",
    ),
    "no authority in the file": (
        lambda folder, files, by: replace(files, ca=_written(folder, "empty.pem", "hello")),
        "tls-ca",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_certificate_that_clients_would_refuse_is_one_line_of_doctor_and_up_starts_nothing(
    folder: Path, served: TlsFiles, authority: Certificate, tmp_path: Path, name: str
) -> None:
    """Each fault of the files is one line that names the file and what to do, before anything is started."""
    make, says = FAULTS[name]
    files = make(folder, served, authority)
    for needed in ("configs", "home"):
        (tmp_path / needed).mkdir()
    (tmp_path / "prefect.yaml").touch()
    found = list(run_setup_checks(plan_settings(tmp_path / "home", tmp_path, options(files), None)))
    (fault,) = [one for one in found if one.level is FindingLevel.FAULT]
    assert (fault.part, says in fault.text, "\n" in fault.text) == ("tls", True, False), fault.text
    with pytest.raises(Rejected) as raised:
        stack.start_stack(tmp_path / "home", tmp_path, options(files))
    assert says in str(raised.value)
    assert not (tmp_path / "home" / "stack.json").exists()


def test_a_certificate_of_a_public_name_serves_at_every_address(folder: Path, authority: Certificate) -> None:
    """At 0.0.0.0 our clients reach 127.0.0.1 and verify the certificate's own name; the page's address is noted."""
    made = make_certificate(folder, "public", "*.example.com", issuer=authority)
    files = TlsFiles(str(made.file), str(made.key_file), str(authority.file))
    config = plan_settings(folder, folder, options(files, listen="0.0.0.0:8443"), None)
    assert (config.gateway, config.tls) == ("https://127.0.0.1:8443", files)
    assert check_tls_files(files).endswith("public.pem is for any.example.com")
    notes = [one.text for one in run_setup_checks(config) if (one.part, one.level) == ("tls", FindingLevel.NOTE)]
    assert [note.partition(",")[0] for note in notes] == ["the certificate is not for 127.0.0.1"]
    with pytest.raises(Rejected, match=r"not valid for 'b\.example\.org'"):
        check_tls_files(replace(files, name="b.example.org"))


def test_a_self_signed_certificate_is_its_own_authority(folder: Path) -> None:
    """Without tls-ca a certificate that has signed itself is trusted, and no other one."""
    made, other = (make_certificate(folder, name, LOOPBACK) for name in ("own", "stranger"))
    files = TlsFiles(str(made.file), str(made.key_file), "", LOOPBACK)
    assert "own.pem is for 127.0.0.1" in check_tls_files(files)
    with pytest.raises(Rejected, match="self-signed certificate"):
        check_tls_files(replace(files, ca=str(other.file)))


def test_settings_of_tls_come_from_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of surefoot.toml is relative to it, one of a shell to its folder; half of the settings is refused."""
    project, shell = tmp_path / "project", tmp_path / "shell"
    project.mkdir()
    shell.mkdir()
    monkeypatch.chdir(shell)
    (project / "surefoot.toml").write_text('tls-certificate = "a.pem"\ntls-key = "/keys/a.key"\n', encoding="utf-8")
    found = resolve_settings(project, {"tls-ca": "ca.pem"}, {"SUREFOOT_TLS_KEY": "b.key"})
    values = [found.text(f"tls-{name}") for name in ("certificate", "key", "ca")]
    assert values == [str(project / "a.pem"), str(shell / "b.key"), str(shell / "ca.pem")]
    with pytest.raises(Rejected, match="both: name the one that is missing"):
        resolve_settings(shell, {"tls-certificate": "a.pem"}, {})
    planned = set_server_ports(
        plan_settings(project, project, StackOptions(), None), {"mlflow": 1, "gateway": 2, "page": 3}
    )
    assert (planned.gateway, planned.page, planned.tls) == ("http://127.0.0.1:2", "http://127.0.0.1:3", None)
    secure = StackOptions(tls_certificate="/a.pem", tls_key="/a.key")
    planned = set_server_ports(plan_settings(project, project, secure, None), {"mlflow": 1, "gateway": 2, "page": 3})
    assert (planned.mlflow, planned.gateway, planned.page) == (
        "http://127.0.0.1:1",
        "https://127.0.0.1:2",
        "https://127.0.0.1:3",
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, served: TlsFiles) -> Iterator[tuple[Partial, TlsFiles]]:
    """A stack whose gateway `surefoot up` has started with TLS, and files of its own that may be replaced."""
    made = Partial(tmp_path_factory.mktemp("stack"))
    own = {name: str(made.folder / name) for name in ("certificate", "key")}
    files = replace(served, **own)
    for name, file in own.items():
        shutil.copy(getattr(served, name), file)
    with_tls(made.settings, files).save()
    try:
        done = made.up()
        assert (done.returncode, done.stderr) == (0, "")
        yield made, files
    finally:
        made.clear()


def test_the_gateway_is_controlled_through_tls(running: tuple[Partial, TlsFiles]) -> None:
    """`up` waits for the gateway by https, and the kill switch is set and lifted through it by the real client."""
    home, _ = running
    assert home.settings.gateway.startswith("https://")
    with wiring.open_gateway_traffic(home.settings) as engine:
        assert engine.set_kill_switch("a drill") == ""
        assert engine.kill_switch_reason() == "a drill"
    assert home.run("kill", "--lift").returncode == 0
    with wiring.open_gateway_traffic(home.settings) as engine:
        assert engine.kill_switch_reason() == ""


def test_a_client_that_does_not_trust_the_certificate_is_not_served(running: tuple[Partial, TlsFiles]) -> None:
    """Without the authority our own client says that the gateway cannot be trusted, and nothing was sent."""
    home, _ = running
    stranger = GatewayTraffic(home.settings.gateway, home.settings.token)
    with pytest.raises(GatewayUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.set_kill_switch("not sent")
    stranger.close()


def test_http_at_the_port_of_tls_is_refused(running: tuple[Partial, TlsFiles]) -> None:
    """A request without TLS gets no answer and the connection is closed; the workers serve on, and log no error."""
    home, files = running
    address = LOOPBACK, int(home.settings.gateway.rpartition(":")[2])
    before = home.workers()
    for sent in (b"GET /version HTTP/1.1\r\nhost: a\r\n\r\n", b"\x00" * 40):
        with socket.create_connection(address, timeout=60) as plain:
            plain.sendall(sent)
            said = plain.recv(4096)
        assert not said.startswith(b"HTTP/1.1 2")
    verify = make_client_context(files)
    assert httpx.get(f"{home.settings.gateway}/version", verify=verify, trust_env=False).status_code == 200
    assert home.workers() == before
    log = (home.folder / "logs" / "gateway.log").read_text(encoding="utf-8")
    assert "Traceback" not in log


def test_a_renewed_certificate_is_served_without_a_restart(
    running: tuple[Partial, TlsFiles], folder: Path, authority: Certificate
) -> None:
    """New connections get the certificate that is in the files now; files that do not fit change nothing."""
    home, files = running
    before = home.workers()
    renewed = make_certificate(folder, "renewed", LOOPBACK, issuer=authority)

    def number() -> int:
        port = int(home.settings.gateway.rpartition(":")[2])
        context = ssl.create_default_context(cafile=files.ca)
        connection = http.client.HTTPSConnection(LOOPBACK, port, context=context, timeout=60)
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        found = connection.sock.getpeercert() or {}
        connection.close()
        return int(str(found["serialNumber"]), 16)

    old = number()
    shutil.copy(renewed.file, files.certificate)  # the key is still that of the other one
    assert number() == old
    shutil.copy(renewed.key_file, files.key)
    assert number() == renewed.certificate.serial_number != old
    assert home.workers() == before


def test_the_status_page_has_tls(emergency: Emergency, served: TlsFiles) -> None:
    """The page is served by https with a cookie for https alone, and applications follow the splits through it."""
    page = f"https://127.0.0.1:{free_port()}"
    named = {"tls_certificate": served.certificate, "tls_key": served.key, "tls_ca": served.ca}
    emergency.config = replace(emergency.config, page=page, **named)  # type: ignore[arg-type]
    emergency.config.save()
    with serve_status_page(emergency.config):
        key = make_link_key(emergency.config.token, "ada", time.time())
        verify = make_client_context(served)
        answer = httpx.get(f"{page}/sign-in", params={"key": key}, verify=verify, trust_env=False, timeout=60.0)
        assert "; Secure" in answer.headers["set-cookie"]
        known = token(emergency)
        followers = [SplitFollower(page, known, [MODEL], 5.0, tls_ca=authorities) for authorities in (served.ca, "")]
        for follower in followers:
            follower.start()
        assert followers[0].wait(60)
        wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in followers[1].problem)
        for follower in followers:
            follower.stop()
