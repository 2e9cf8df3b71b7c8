"""Read message receivers and routing rules from `configs/notify.yaml`."""

from pathlib import Path

from pydantic import ValidationError

from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.errors import PolicyInvalid
from surefoot.core.policy.pydantic_errors import convert_pydantic_error
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.core.policy.violations import Violation

NOTIFY_FILE = "notify.yaml"
"""Name of the file beside the policies that says who is told what; it is no policy."""


def read_notify_config(configs: Path) -> NotifyConfig | None:
    """Read and check the file; None where there is none, so that no message is sent.

    Args:
        configs: Folder of the policies.

    Raises:
        PolicyInvalid: Names file, line and rule of everything in it that is broken.
    """
    path = configs / NOTIFY_FILE
    if not path.exists():
        return None
    document = YamlDocument()
    value = load_yaml(path, document, "file of receivers and routes")
    config, broken = None, list[Violation]()
    try:
        config = NotifyConfig.model_validate(value)
    except ValidationError as error:
        broken = convert_pydantic_error(error, value, root=NotifyConfig)
    unread = [one.path for one in document.unread]
    broken = [one for one in broken if not any(one.path[: len(path)] == path for path in unread)]
    found = [(document.line(one.path), str(one)) for one in (*document.unread, *broken)]
    if found or config is None:
        (line, rule), *more = found
        raise PolicyInvalid(str(path), line, rule, more)
    return config


def find_notify_line(configs: Path, place: tuple[str | int, ...]) -> int:
    """Line number of an entry in the file [one-based].

    Raises:
        PolicyInvalid: It cannot be read any more.
    """
    document = YamlDocument()
    load_yaml(configs / NOTIFY_FILE, document, "file of receivers and routes")
    return document.line(place)
