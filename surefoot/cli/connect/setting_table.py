"""Define every setting with its option and default, and render them as a table for the documentation."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from surefoot.cli.connect.secret_urls import has_password, mask_password
from surefoot.core.errors import Rejected
from surefoot.settings import OWN_WORK_POOL

EMBEDDED_SERVICE = "embedded"
"""Value that says: the one that `surefoot up` starts, or keeps, by itself."""
YES, NO = "yes", "no"
SETTINGS_FILE_NAME = "surefoot.toml"
_LARGEST_PORT = 65535
_SHORTEST_TICK_S = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of an installation.

    Attributes:
        name: Key in surefoot.toml; the option and the environment variable are named after it.
        kind: Type of its value: `str` or `int`.
        default: Its value where nothing else is said.
        meaning: What it says, for the table in docs/settings.md.
        parse: Brings a value into its usual form, or raises `ValueError` with what is wrong.
        standard_variable: A variable that many tools read, which counts where nothing else is said; empty for none.
        is_path: Whether it names a file, which in surefoot.toml is relative to that file.
    """

    name: str
    kind: type[str] | type[int]
    default: str | int
    meaning: str
    parse: Callable[[str], str] = str
    standard_variable: str = ""
    is_path: bool = False

    @property
    def option(self) -> str:
        """Option of `up`, `doctor` and `config`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """Environment variable."""
        return f"SUREFOOT_{self.name.upper().replace('-', '_')}"

    def read(self, value: object, source: str) -> str | int:
        """Check a value and bring it into its usual form.

        Args:
            value: What was typed, or stands in the file.
            source: Where it stands, for the message.

        Raises:
            Rejected: It is no such value; no password is repeated.
        """
        if self.parse is _yes_no and isinstance(value, bool):
            return YES if value else NO
        shown = mask_password(value) if isinstance(value, str) else value
        if self.kind is int:
            try:
                number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
            except ValueError:
                number = -1
            least, most = (_SHORTEST_TICK_S, 86_400) if self.name == "tick" else (0, _LARGEST_PORT)
            if not least <= number <= most:
                raise Rejected(f"{source} must be a whole number from {least} to {most}, not {shown!r}")
            return number
        if not isinstance(value, str) or not value.strip():
            raise Rejected(f"{source} must be a text, not {shown!r}")
        try:
            return self.parse(value.strip())
        except ValueError as error:
            raise Rejected(f"{source} is {shown!r}: {error}") from None


def _server(url: str) -> str:
    """The base URL of a server, or `embedded`."""
    if url == EMBEDDED_SERVICE:
        return url
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"give an address such as https://mlflow.example.com, or '{EMBEDDED_SERVICE}'")
    if parts.username is not None or has_password(url):
        raise ValueError("a user or a password does not belong into an address: docs/settings.md names the variables")
    if parts.query or parts.fragment:
        raise ValueError("leave out what follows '?' or '#'")
    _ = parts.port  # a number that is none raises
    return url.rstrip("/")


def _prefect(url: str) -> str:
    """The base URL of a Prefect server, without /api, or the API URL of a workspace of Prefect Cloud."""
    return _server(url).removesuffix("/api")


def _journal(url: str) -> str:
    if url != EMBEDDED_SERVICE and "://" not in url and not url.startswith("${"):
        raise ValueError(f"give a URL such as postgresql://user@host/database, or '{EMBEDDED_SERVICE}'")
    return url


def _listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        number = int(port)
    except ValueError:
        number = -1
    if not host or not 0 < number <= _LARGEST_PORT or set("/[]:") & set(host):
        raise ValueError("give HOST:PORT with an IPv4 address or a name, such as 0.0.0.0:8080")
    return address


def _lineage(address: str) -> str:
    if address.startswith("file:") and address.removeprefix("file:"):
        return address
    try:
        return _web_address(address)
    except ValueError:
        raise ValueError("give an address such as https://marquez.example.com/api/v1/lineage, or file:PATH") from None


def _web_address(url: str) -> str:
    found = _server(url)
    if found == EMBEDDED_SERVICE:
        raise ValueError("give an address such as http://127.0.0.1:4318")
    return found


def _yes_no(word: str) -> str:
    known = {"yes": YES, "true": YES, "1": YES, "no": NO, "false": NO, "0": NO}
    if word.lower() not in known:
        raise ValueError("give 'yes' or 'no'")
    return known[word.lower()]


def _log_format(name: str) -> str:
    if name not in {"text", "json"}:
        raise ValueError("give 'text' or 'json'")
    return name


SETTINGS = (
    Setting(
        "mlflow",
        str,
        EMBEDDED_SERVICE,
        "Address of an MLflow server. `embedded`: `surefoot up` starts one on this host.",
        _server,
    ),
    Setting(
        "prefect",
        str,
        EMBEDDED_SERVICE,
        "Address of a Prefect server, or the API URL of a workspace of Prefect Cloud. `embedded`: `surefoot up` starts"
        " one on this host.",
        _prefect,
    ),
    Setting(
        "pool",
        str,
        OWN_WORK_POOL,
        f"Prefect work pool, of type `process`. For `{OWN_WORK_POOL}` Surefoot starts a worker and makes the pool; any"
        " other one must exist, with a worker of yours on this host.",
    ),
    Setting(
        "journal",
        str,
        EMBEDDED_SERVICE,
        "URL of the journal's database, PostgreSQL or SQLite. `${NAME}` in it stands for an environment variable."
        " `embedded`: a SQLite file in the home folder.",
        _journal,
    ),
    Setting(
        "postgres",
        str,
        NO,
        "`yes`: `surefoot up` starts a PostgreSQL; what is embedded of journal, MLflow and Prefect keeps its records"
        " in it. A home folder keeps the choice of its first `up`. On the command line without a value.",
        _yes_no,
    ),
    Setting("listen", str, "", "HOST:PORT at which the gateway listens; a free port of 127.0.0.1 without it.", _listen),
    Setting(
        "gateway-port", int, 0, "Port of the gateway on 127.0.0.1; 0 takes any free one. Not together with `listen`."
    ),
    Setting("mlflow-port", int, 0, "Port of the embedded MLflow; 0 takes any free one."),
    Setting("prefect-port", int, 0, "Port of the embedded Prefect; 0 takes any free one."),
    Setting("page-port", int, 0, "Port of the status page on 127.0.0.1; 0 takes any free one."),
    Setting(
        "tls-certificate",
        str,
        "",
        "PEM file of a certificate, its intermediate ones after it: gateway and status page serve https with it. They"
        " have no TLS without one.",
        is_path=True,
    ),
    Setting("tls-key", str, "", "PEM file of the certificate's private key, without a password.", is_path=True),
    Setting(
        "tls-ca",
        str,
        "",
        "PEM file of the authorities that our own clients trust; without it those of this host, and the certificate"
        " itself where it is self-signed.",
        is_path=True,
    ),
    Setting("clock", str, "system", "`system`, or `replay:FILE` for replayed traffic."),
    Setting("tick", int, 60, "Seconds between two ticks of the scheduled flows."),
    Setting(
        "lineage",
        str,
        "",
        "Where OpenLineage events of rollouts go: an HTTP address, or `file:PATH` in the project folder.",
        _lineage,
    ),
    Setting(
        "otlp",
        str,
        "",
        "Base URL of an OpenTelemetry collector (OTLP over HTTP) that gets spans of rollouts and of sampled requests;"
        " `OTEL_EXPORTER_OTLP_ENDPOINT` where nothing else is said.",
        _web_address,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    Setting(
        "log-format", str, "text", "How log lines are written: `text`, or `json` for one object a line.", _log_format
    ),
)
"""Every setting, in the order in which it is shown."""


def render_settings_table() -> str:
    """The table of all settings for docs/settings.md, in Markdown."""
    rows = ["| `surefoot.toml` | command line | environment | default | meaning |", "|---|---|---|---|---|"]
    for one in SETTINGS:
        default = f"`{one.default}`" if one.default != "" else "none"
        rows.append(f"| `{one.name}` | `{one.option}` | `{one.variable}` | {default} | {one.meaning} |")
    return "\n".join(rows)
