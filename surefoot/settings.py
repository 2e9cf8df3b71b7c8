"""Define the settings of one installation (paths, addresses, token), which `surefoot up` writes."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from surefoot.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths, addresses and token of an installation; written by `surefoot up`, read by everything else.

    Attributes:
        home: Folder of all state.
        project: Folder of configs/ and expectations/.
        mlflow: Base URL of the MLflow server.
        prefect: Base URL of the Prefect server, without /api.
        gateway: Base URL of the gateway.
        token: Secret of the gateway's control calls.
        clock: "system" or "replay:<file>".
        journal: SQLAlchemy URL of the journal.
        tick: Time between two ticks of the scheduled flows [seconds].
        processes: What was started: name -> [pid, start time].
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
        """URL of the journal's database."""
        return self.journal or f"sqlite:///{self.home / 'journal.db'}"

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


def read_settings(where: Path | None = None) -> Settings:
    """Read what `surefoot up` wrote.

    Raises:
        Rejected: There is no running stack, or its file is broken.
    """
    file = (where or home_folder()) / "stack.json"
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        plain["home"], plain["project"] = Path(plain["home"]), Path(plain["project"])
        plain["processes"] = {name: (int(pid), float(born)) for name, (pid, born) in plain["processes"].items()}
        return Settings(**plain)
    except FileNotFoundError as error:
        raise Rejected(f"no stack in {file.parent}: start one with 'surefoot up', or set SUREFOOT_HOME") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"{file} is broken ({error}): 'surefoot up' writes it anew") from error
