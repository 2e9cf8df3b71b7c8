"""Settings come from the command line, the environment and surefoot.toml, in this order, and hold no password."""

import json
import os
from pathlib import Path

import pytest

from surefoot.cli.connect.options import stack_options
from surefoot.cli.connect.secret_urls import has_password, mask_password
from surefoot.cli.connect.setting_sources import list_unused_variables, resolve_settings
from surefoot.cli.connect.setting_table import SETTINGS, render_settings_table
from surefoot.cli.local.prefect_access import PREFECT_CREDENTIAL_VARIABLES, open_prefect_client
from surefoot.cli.local.stack_options import (
    StackOptions,
    check_journal_continues,
    check_options_match_stack,
    describe_setting_changes,
    plan_settings,
)
from surefoot.cli.local.start_services import build_stack_environment, list_own_services, read_server_ports
from surefoot.core.errors import Rejected
from surefoot.settings import Settings, read_settings, resolve_url_variables

ROOT = Path(__file__).parents[2]
FILE = 'mlflow = "https://file"\nprefect = "https://file"\npool = "file"\n'


def test_the_command_line_comes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    """Each source overrides those after it, and the source of every value is remembered."""
    (tmp_path / "surefoot.toml").write_text(FILE)
    variables = {"SUREFOOT_MLFLOW": "https://variable", "SUREFOOT_PREFECT": "https://variable"}
    found = resolve_settings(tmp_path, {"mlflow": "https://option", "pool": None}, variables)
    assert {name: found.text(name) for name in ("mlflow", "prefect", "pool", "journal")} == {
        "mlflow": "https://option",
        "prefect": "https://variable",
        "pool": "file",
        "journal": "",
    }
    assert found.sources == {"mlflow": "--mlflow", "prefect": "SUREFOOT_PREFECT", "pool": "surefoot.toml"}


def test_variables_of_other_tools_are_told_and_not_used(tmp_path: Path) -> None:
    """MLFLOW_TRACKING_URI and PREFECT_API_URL change nothing; a line says so where they name another server."""
    other = {"MLFLOW_TRACKING_URI": "http://elsewhere:5000", "PREFECT_API_URL": "http://elsewhere:4200/api"}
    found = resolve_settings(tmp_path, {}, other)
    assert (found.text("mlflow"), found.text("prefect"), found.sources) == ("", "", {})
    lines = list_unused_variables(found, other)
    assert [line.split(" ")[0] for line in lines] == ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"]
    same = resolve_settings(tmp_path, {"mlflow": "http://elsewhere:5000/", "prefect": "http://elsewhere:4200"}, other)
    assert list_unused_variables(same, other) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('mlfow = "http://h"', "'mlfow' is no setting; known here: clock, gateway-port, journal"),
        ("mlflow = ", "is no TOML"),
        ("mlflow = 5000", "surefoot.toml: mlflow must be a text, not 5000"),
        ('mlflow = "h:5000"', "surefoot.toml: mlflow is 'h:5000': give an address such as https://"),
        ('mlflow = "http://u:secret-1@h"', "'http://u:***@h': a user or a password does not belong into an address"),
        ('prefect = "http://u@h/api"', "a user or a password does not belong into an address"),
        ('prefect = "http://h:port"', "surefoot.toml: prefect is"),
        ('journal = "postgresql://u:secret-1@h/d"', "surefoot.toml: journal holds a password"),
        ('journal = "postgresql://h/d?password=secret-1"', "surefoot.toml: journal holds a password"),
        ('journal = "journal.db"', "give a URL such as postgresql://"),
        ('listen = "8080"', "give HOST:PORT"),
        ('listen = "[::]:8080"', "give HOST:PORT with an IPv4 address"),
        ("tick = 1", "surefoot.toml: tick must be a whole number from 5 to 86400, not 1"),
        ("mlflow-port = true", "mlflow-port must be a whole number from 0 to 65535, not True"),
        ('listen = "127.0.0.1:8080"\ngateway-port = 8081', "leave --gateway-port out"),
    ],
)
def test_a_wrong_value_is_one_line_without_a_password(tmp_path: Path, text: str, says: str) -> None:
    """What is wrong in surefoot.toml is named with its key, and no password is repeated."""
    (tmp_path / "surefoot.toml").write_text(text)
    with pytest.raises(Rejected) as raised:
        resolve_settings(tmp_path, {}, {})
    assert says in str(raised.value)
    assert "secret-1" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:a/b?c@h/d", "postgresql://u:***@h/d"),
        ("http://u:pw@h:5000/a@b", "http://u:***@b"),
        ("http://h:5000/a@b", "http://h:5000/a@b"),
        ("postgresql://u:@h/d?host=/tmp/x&port=1", "postgresql://u:@h/d?host=/tmp/x&port=1"),
        ("postgresql://h/d?sslmode=require&password=abc", "postgresql://h/d?sslmode=require&password=***"),
        ("postgresql://u:${NAME}@h/d", "postgresql://u:${NAME}@h/d"),
        ("postgresql://u:${NAME}more@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("http://h:5000/path", "http://h:5000/path"),
    ],
)
def test_a_password_is_masked(url: str, shown: str) -> None:
    """Only what is secret is masked, and what is masked is what counts as a password."""
    assert mask_password(url) == shown
    assert has_password(url) == (url != shown)


def test_the_journal_is_stored_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password stays in the environment: stack.json holds a reference, from which the URL is made when it is used."""
    secret = "a/b@c:d"  # noqa: S105 - of no database
    monkeypatch.setenv("SUREFOOT_JOURNAL", f"postgresql://u:{secret}@h/d")
    options = StackOptions(journal=resolve_settings(tmp_path).text("journal"))
    plan_settings(tmp_path, tmp_path, options, None).save()
    assert secret not in (tmp_path / "stack.json").read_text()
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert read_settings(tmp_path).journal_url == f"postgresql://u:{secret}@h/d"
    monkeypatch.setenv("PW", secret)
    assert resolve_url_variables("postgresql://u:${PW}@h/d") == "postgresql://u:a%2Fb%40c%3Ad@h/d"
    monkeypatch.delenv("SUREFOOT_JOURNAL")
    with pytest.raises(Rejected, match="variable SUREFOOT_JOURNAL is not set"):
        _ = read_settings(tmp_path).journal_url


def test_settings_of_an_earlier_release_are_read(tmp_path: Path) -> None:
    """A stack.json without the settings that came later is one whose servers are all embedded."""
    Settings(tmp_path, tmp_path, "http://m", "http://p", "http://127.0.0.1:8", "t").save()
    plain = json.loads((tmp_path / "stack.json").read_text())
    for name in ("pool", "listen", "connected", "sources"):
        del plain[name]
    (tmp_path / "stack.json").write_text(json.dumps(plain))
    found = read_settings(tmp_path)
    assert (found.pool, found.connected, found.listen_address) == ("surefoot", (), ("127.0.0.1", 8))
    assert list_own_services(found) == ["mlflow", "gateway", "prefect", "worker", "controller"]


@pytest.mark.parametrize(
    ("given", "api", "pages"),
    [
        ("http://h:4200", "http://h:4200/api", "http://h:4200"),
        ("http://h:4200/api/", "http://h:4200/api", "http://h:4200"),
        ("https://h/prefect/api", "https://h/prefect/api", "https://h/prefect"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://app.prefect.cloud/account/a/workspace/w",
        ),
    ],
)
def test_an_address_of_prefect_may_be_written_either_way(tmp_path: Path, given: str, api: str, pages: str) -> None:
    """An address with /api or without, below a path, or of a workspace of Prefect Cloud is understood."""
    options = StackOptions(prefect=resolve_settings(tmp_path, {"prefect": given}, {}).text("prefect"))
    config = plan_settings(tmp_path, tmp_path, options, None)
    assert (config.prefect_api, config.prefect_pages) == (api, pages)


def test_only_what_is_not_named_is_a_process_of_the_stack(tmp_path: Path) -> None:
    """A connected server is not started, nor is a worker for a pool of somebody else; their ports are not looked at."""
    config = plan_settings(tmp_path, tmp_path, StackOptions(mlflow="http://m:1", prefect="http://p:2"), None)
    assert list_own_services(config) == ["gateway", "worker", "controller"]
    assert set(read_server_ports(config)) == {"gateway"}
    options = StackOptions(mlflow="http://m:1", prefect="http://p:2", pool="team", listen="0.0.0.0:8080")
    config = plan_settings(tmp_path, tmp_path, options, None)
    assert list_own_services(config) == ["gateway", "controller"]
    assert (config.gateway, config.listen_address) == ("http://127.0.0.1:8080", ("0.0.0.0", 8080))  # noqa: S104 - nothing listens


CREDENTIALS = {
    "MLFLOW_TRACKING_USERNAME": "u",
    "MLFLOW_TRACKING_PASSWORD": "p",
    "PREFECT_API_AUTH_STRING": "a:b",
    "PREFECT_API_KEY": "k",
}


def test_credentials_reach_connected_servers_and_no_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of the stack get the credentials of connected servers; an embedded server's clients send none."""
    for name, value in {**CREDENTIALS, "PREFECT_SERVER_API_AUTH_STRING": "x:y"}.items():
        monkeypatch.setenv(name, value)
    embedded = plan_settings(tmp_path, tmp_path, StackOptions(), None)
    environment = build_stack_environment(embedded)
    assert not {*CREDENTIALS, "PREFECT_SERVER_API_AUTH_STRING"} & set(environment)
    with open_prefect_client(embedded) as client:
        assert "authorization" not in client.headers
    connected = plan_settings(tmp_path, tmp_path, StackOptions(mlflow="http://m", prefect="http://p"), None)
    assert CREDENTIALS.items() <= build_stack_environment(connected).items()
    with open_prefect_client(connected) as client:
        assert client.headers["authorization"] == "Basic YTpi"
    monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", '{"x-team": "ours"}')
    with open_prefect_client(connected) as client:
        assert (client.headers["authorization"], client.headers["x-team"]) == ("Bearer k", "ours")


BEFORE = StackOptions(
    mlflow="http://m:1",
    prefect="http://p:2",
    journal="postgresql://h/d",
    sources={"mlflow": "--mlflow", "prefect": "surefoot.toml", "journal": "SUREFOOT_JOURNAL"},
)


@pytest.mark.parametrize("name", ["mlflow", "prefect", "journal"])
def test_a_server_that_nothing_names_any_more_is_refused(tmp_path: Path, name: str) -> None:
    """An `up` that would start an empty server in the place of a connected one is refused, unless it says so."""
    before = plan_settings(tmp_path, tmp_path, BEFORE, None)
    named = {"mlflow": "http://m:1", "prefect": "http://p:2", "journal": "postgresql://h/d"} | {name: ""}
    with pytest.raises(Rejected, match=f"nothing names it now: .*--{name} embedded"):
        plan_settings(tmp_path, tmp_path, StackOptions(**named), before)  # type: ignore[arg-type]
    wanted = StackOptions(**named, sources={name: f"--{name}"})  # type: ignore[arg-type]
    config = plan_settings(tmp_path, tmp_path, wanted, before)
    assert [line.partition(",")[0] for line in describe_setting_changes(before, config)] == [
        {
            "mlflow": "MLflow: http://m:1 before",
            "prefect": "Prefect: http://p:2 before",
            "journal": "journal: postgresql://h/d before",
        }[name]
    ]


def test_another_server_is_told_in_one_line(tmp_path: Path) -> None:
    """A second `up` with another server says what was, what is, and what says so; without a change it says nothing."""
    before = plan_settings(tmp_path, tmp_path, BEFORE, None)
    assert list(describe_setting_changes(before, plan_settings(tmp_path, tmp_path, BEFORE, before))) == []
    other = StackOptions(
        mlflow="http://other", prefect="http://p:2", journal="postgresql://h/d", sources={"mlflow": "surefoot.toml"}
    )
    (line,) = describe_setting_changes(before, plan_settings(tmp_path, tmp_path, other, before))
    assert line == "MLflow: http://m:1 before, http://other now (surefoot.toml)"


def test_a_journal_that_lacks_entries_is_refused(tmp_path: Path) -> None:
    """`up` with a journal that does not continue the one of this home is refused: the gateway is ahead of it."""
    from surefoot import wiring  # noqa: PLC0415 - the other tests need no adapter

    before = Settings(tmp_path, tmp_path, "http://m", "http://p", "http://g", "t")
    with wiring.open_journal(before) as journal:
        journal.append("m", 0, 0.0, "me", "Paused", {"rollout": "r", "reason": "x"})
    options = StackOptions(journal=f"sqlite:///{tmp_path}/other.db", sources={"journal": "--journal"})
    with pytest.raises(Rejected, match="has 1 entries of m, and the one that --journal names has 0"):
        check_journal_continues(before, plan_settings(tmp_path, tmp_path, options, before))
    (tmp_path / "other.db").write_bytes((tmp_path / "journal.db").read_bytes())
    check_journal_continues(before, plan_settings(tmp_path, tmp_path, options, before))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mlflow", "http://other", "--mlflow http://m:1, not http://other"),
        ("prefect", "", "--prefect http://p:2, not embedded"),
        ("pool", "team", "--pool surefoot, not team"),
        ("journal", "postgresql://u:${X}@h/d", "--journal postgresql://h/d, not postgresql://u:${X}@h/d"),
    ],
)
def test_a_stack_that_runs_in_part_follows_no_other_options(tmp_path: Path, name: str, value: str, says: str) -> None:
    """Another server on the command line is refused; one in surefoot.toml is told, and what has died is started."""
    running = plan_settings(tmp_path, tmp_path, BEFORE, None)
    with pytest.raises(Rejected) as raised:
        check_options_match_stack(running, tmp_path, StackOptions(**{name: value}, sources={name: f"--{name}"}))  # type: ignore[arg-type]
    assert says in str(raised.value)
    told: list[str] = []
    from_file = StackOptions(**{name: value}, sources={name: "surefoot.toml"})  # type: ignore[arg-type]
    check_options_match_stack(running, tmp_path, from_file, told.append)
    assert [line.partition(",")[0] for line in told] == [f"surefoot.toml says {name} {value or 'embedded'}"]


def test_receivers_of_telemetry_are_named_without_secrets(tmp_path: Path) -> None:
    """An address is taken from surefoot.toml before the variable of other tools; one with a password is refused."""
    standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}
    found = resolve_settings(tmp_path, {"lineage": "file:lineage/events.jsonl"}, standard)
    assert (found.text("otlp"), found.sources["otlp"]) == ("http://collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT")
    assert found.text("lineage") == "file:lineage/events.jsonl"
    (tmp_path / "surefoot.toml").write_text('otlp = "http://ours:4318"\nlog-format = "json"\n', encoding="utf-8")
    ours = resolve_settings(tmp_path, None, standard)
    config = plan_settings(tmp_path, tmp_path, stack_options(ours), None)
    assert (config.otlp, config.log_format, config.lineage) == ("http://ours:4318", "json", "")
    for name, value in (
        ("otlp", "http://u:secret-41@h"),
        ("lineage", "http://u:secret-41@h/api"),
        ("otlp", "embedded"),
        ("lineage", "file:"),
        ("lineage", "somewhere"),
        ("log-format", "xml"),
    ):
        with pytest.raises(Rejected) as raised:
            resolve_settings(tmp_path, {name: value}, {})
        assert "secret-41" not in str(raised.value)


def test_the_table_of_settings_is_documented() -> None:
    """docs/settings.md holds the table that `surefoot config --table` prints, and the variables of credentials."""
    document = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert render_settings_table() in document
    assert len({one.variable for one in SETTINGS}) == len(SETTINGS)
    for name in (
        *CREDENTIALS,
        *PREFECT_CREDENTIAL_VARIABLES,
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "MLFLOW_TRACKING_INSECURE_TLS",
    ):
        assert f"`{name}`" in document
    assert "SUREFOOT_LISTEN" not in os.environ
