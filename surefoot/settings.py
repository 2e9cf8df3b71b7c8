"""Define and read the settings of one installation, which `surefoot up` writes."""

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from surefoot.core.errors import Rejected
from surefoot.tls_files import TlsFiles

OWN_WORK_POOL = "surefoot"
"""Work pool for which `surefoot up` starts a worker."""
LOOPBACK_OF_ANY_HOST = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "*": "127.0.0.1"}  # noqa: S104 - a person asks for it
"""Where processes of this host reach a server that listens at every address."""
POSTGRES_USER = "postgres"
POSTGRES_DATABASES = ("journal", "mlflow", "prefect")
"""Databases of the embedded PostgreSQL."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths, addresses and token of an installation; written by `surefoot up`, read by everything else.

    Attributes:
        home: Folder of all state.
        project: Folder of configs/ and expectations/.
        mlflow: Base URL of the MLflow server, without a password.
        prefect: Base URL of the Prefect server, without /api; of Prefect Cloud, the API URL of a workspace.
        gateway: Base URL of the gateway, for processes of this host.
        token: Secret of the gateway's control calls.
        clock: "system" or "replay:<file>".
        journal: SQLAlchemy URL of the journal; `${NAME}` in it stands for the environment variable NAME.
        tick: Time between two ticks of the scheduled flows [seconds].
        processes: What was started: name -> [pid, start after the host's boot in seconds].
        pool: Prefect work pool of the flows.
        listen: HOST:PORT at which the gateway listens; empty where that is its URL.
        connected: Servers that Surefoot uses and has not started: "mlflow", "prefect".
        sources: Where the value of a setting came from, by its name; those that have their default are left out.
        page: Base URL of the status page; empty for a stack that was started before there was one.
        lineage: Where OpenLineage events go: an HTTP address, or `file:PATH`; empty for nowhere.
        otlp: Base URL of the OpenTelemetry collector that gets spans; empty for none.
        log_format: How processes write their log lines: "text" or "json".
        tls_certificate: PEM file of the certificate of gateway and status page; empty: they have no TLS.
        tls_key: PEM file of its key.
        tls_ca: PEM file of the authorities that it is verified against.
        postgres: Folder of the embedded PostgreSQL's socket; empty where embedded parts keep their records in SQLite.
    """

    home: Path
    project: Path
    mlflow: str
    prefect: str
    gateway: str
    token: str
    clock: str = "system"
    journal: str = ""
    tick: int = 60
    processes: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    pool: str = OWN_WORK_POOL
    listen: str = ""
    connected: Sequence[str] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    page: str = ""
    lineage: str = ""
    otlp: str = ""
    log_format: str = "text"
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    postgres: str = ""

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None where gateway and status page have none."""
        if not self.tls_certificate:
            return None
        host, _ = self.listen_address
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_ca, "" if host in LOOPBACK_OF_ANY_HOST else host)

    @property
    def page_address(self) -> tuple[str, int]:
        """Host and port at which the status page listens."""
        address = urlsplit(self.page)
        return address.hostname or "127.0.0.1", address.port or 80

    @property
    def prefect_api(self) -> str:
        """URL of Prefect's REST interface."""
        return self.prefect if "/api/" in urlsplit(self.prefect).path else f"{self.prefect}/api"

    @property
    def prefect_pages(self) -> str:
        """URL below which Prefect's web pages are."""
        if self.prefect_api != self.prefect:
            return self.prefect
        pages = self.prefect.replace("://api.", "://app.", 1).replace("/api/accounts/", "/account/", 1)
        return pages.replace("/workspaces/", "/workspace/", 1)

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port at which the gateway listens."""
        address = urlsplit(f"//{self.listen}" if self.listen else self.gateway)
        return address.hostname or "127.0.0.1", address.port or 80

    @property
    def configs(self) -> Path:
        """Folder of the policy files."""
        return self.project / "configs"

    @property
    def log(self) -> Path:
        """Folder of the prediction logs, one folder a model."""
        return self.home / "gateway" / "log"

    @property
    def journal_url(self) -> str:
        """URL of the journal's database, with its secrets.

        Raises:
            Rejected: An environment variable that it names is not set.
        """
        if self.postgres and not self.journal:
            return self.postgres_url("journal")
        return resolve_url_variables(self.journal) or f"sqlite:///{self.home / 'journal.db'}"

    @property
    def uses_postgres(self) -> bool:
        """Whether the embedded PostgreSQL keeps records of anything."""
        return bool(self.postgres) and (not self.journal or not {"mlflow", "prefect"}.issubset(self.connected))

    def postgres_url(self, database: str, driver: str = "") -> str:
        """URL of a database of the embedded PostgreSQL, for SQLAlchemy; without a driver for libpq too."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{POSTGRES_USER}@/{database}?host={quote(self.postgres)}"

    def save(self) -> None:
        """Write the settings where `read_settings` finds them; readable by the owner only, for it holds a token."""
        self.home.mkdir(parents=True, exist_ok=True)
        target, fresh = self.home / "stack.json", self.home / f".stack-{secrets.token_hex(4)}"
        plain = {key: str(item) if isinstance(item, Path) else item for key, item in asdict(self).items()}
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(plain, indent=2), encoding="utf-8")
        fresh.replace(target)


def home_folder() -> Path:
    """Folder of all state: SUREFOOT_HOME, or .surefoot here."""
    return Path(os.environ.get("SUREFOOT_HOME", ".surefoot")).absolute()


def resolve_url_variables(url: str) -> str:
    """Replace each `${NAME}` of a URL by the environment variable NAME.

    Args:
        url: A URL that is one variable as a whole, or has variables in its parts, whose values are then quoted.

    Raises:
        Rejected: A variable is not set.
    """
    missing = [name for name in _VARIABLE.findall(url) if not os.environ.get(name)]
    if missing:
        raise Rejected(f"environment variable {missing[0]} is not set: the URL of the journal needs it")
    if _VARIABLE.fullmatch(url):
        return os.environ[url[2:-1]]
    return _VARIABLE.sub(lambda found: quote(os.environ[found[1]], safe=""), url)


def read_settings(where: Path | None = None) -> Settings:
    """Read what `surefoot up` wrote.

    Raises:
        Rejected: There is no running stack, or its file is broken.
    """
    file = (where or home_folder()) / "stack.json"
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        plain["home"], plain["project"] = Path(plain["home"]), Path(plain["project"])
        plain["connected"] = tuple(plain.get("connected", ()))
        plain["processes"] = {name: (int(pid), float(born)) for name, (pid, born) in plain["processes"].items()}
        return Settings(**plain)
    except FileNotFoundError as error:
        raise Rejected(f"no stack in {file.parent}: start one with 'surefoot up', or set SUREFOOT_HOME") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"{file} is broken ({error}): 'surefoot up' writes it anew") from error
