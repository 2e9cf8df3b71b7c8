"""Check the addresses and audiences in `configs/notify.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot.adapters.config.notify_file import NOTIFY_FILE, find_notify_line, read_notify_config
from surefoot.adapters.config.policy_file import find_line
from surefoot.adapters.config.policy_folder import find_policy_file
from surefoot.adapters.notify.apprise_sender import find_address_problem
from surefoot.adapters.notify.pagerduty_events import find_pagerduty_address_problem
from surefoot.adapters.notify.secret_address import resolve_address
from surefoot.core.errors import PolicyInvalid, Rejected
from surefoot.core.incidents.playbook import MESSAGE_AUDIENCES
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.notify_config import ALL_MODELS, NotifyConfig, Receiver, ReceiverKind, SecretAddress

_HEARTBEAT_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class NotifyFileReport:
    """What a check of the file has found.

    Attributes:
        config: What the file says; None where there is none, or it is wrong.
        problems: What is wrong, each with file and line.
        notes: What cannot be checked here, each as a sentence.
    """

    config: NotifyConfig | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_notify_file(project: Path, policies: Mapping[str, Policy]) -> NotifyFileReport:
    """Check the file of a project, and that the audiences and templates that policies name are there.

    Args:
        project: Folder with configs/.
        policies: Policies by model.
    """
    configs = project / "configs"
    file = configs / NOTIFY_FILE
    try:
        config = read_notify_config(configs)
    except PolicyInvalid as error:
        return NotifyFileReport(problems=tuple(f"{error.path}:{line}: {rule}" for line, rule in error.problems()))
    problems = [*_unsendable(configs, config, policies)]
    if config is None:
        return NotifyFileReport(None, tuple(problems))
    notes: list[str] = []
    addresses: dict[tuple[str, ...], SecretAddress] = {}
    addresses.update({("receivers", name): one for name, one in config.receivers.items()})
    if config.heartbeat is not None:
        addresses["heartbeat",] = config.heartbeat
    for place, address in addresses.items():
        problem, note = _address_problem(address, project, web=place == ("heartbeat",))
        if problem:
            where = (*place, "url") if address.url is not None else (*place, "url_file")
            problems.append(f"{file}:{find_notify_line(configs, where)}: {'.'.join(where)}: {problem}")
        if note:
            notes.append(f"{'.'.join(place)}: {note}")
    for number, route in enumerate(config.routes):
        unknown = [model for model in route.models if model != ALL_MODELS and model not in policies]
        if unknown:
            line = find_notify_line(configs, ("routes", number, "models"))
            notes.append(f"routes.{number} (line {line}) names {unknown[0]}, which has no policy here")
    return NotifyFileReport(config, tuple(problems), tuple(notes))


def _address_problem(address: SecretAddress, project: Path, *, web: bool) -> tuple[str, str]:
    """What is wrong with an address, and why it cannot be checked here; neither holds a secret."""
    hidden = bool(address.variables) or address.url_file is not None
    try:
        found = resolve_address(address, project)
    except Rejected as error:
        return "", f"not checked: {error}"
    if web:
        return ("" if found.startswith(_HEARTBEAT_SCHEMES) else "expected an address of http:// or https://"), ""
    if isinstance(address, Receiver) and address.kind is ReceiverKind.PAGERDUTY:
        return find_pagerduty_address_problem(found, secret=hidden), ""
    return find_address_problem(found, secret=hidden), ""


def _unsendable(configs: Path, config: NotifyConfig | None, policies: Mapping[str, Policy]) -> list[str]:
    """Audiences that a policy has told, and that have no receiver or no template."""
    found = []
    for model, policy in policies.items():
        file = find_policy_file(configs, model)
        for audience in policy.playbook.send:
            where = f"{file}:{find_line(file, ('playbook', 'send'))}: playbook.send"
            if config is None or audience not in config.people:
                found.append(f"{where}: {NOTIFY_FILE} names no receiver for '{audience}': add it under people")
            template = configs / "messages" / f"{audience}.md"
            if audience not in MESSAGE_AUDIENCES and not template.is_file():
                found.append(f"{where}: there is no template {template} for '{audience}'")
    return found
