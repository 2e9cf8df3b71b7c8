"""Check that a policy's approvers exist, have keys and can meet the quorum, and that ssh-keygen is installed."""

import fnmatch
import re
from pathlib import Path

from surefoot.adapters.approvals.approver_files import SIGNERS_FILE, ApproverGroups, read_approver_groups
from surefoot.adapters.approvals.ssh_keygen import KEYGEN_MISSING_MESSAGE, find_keygen
from surefoot.adapters.config.policy_file import find_line
from surefoot.adapters.config.policy_folder import APPROVERS_FILE, find_configs_folder
from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.policy.policy_types import Approve, Policy

_FIELDS = re.compile(r'^("(?:[^"\\]|\\.)*"|\S+)\s+(.*)$')
_KEY = re.compile(r"(?:^|\s)(ssh-|ecdsa-|sk-)\S+\s+AAAA\S+")


def find_approval_problems(file: Path, policy: Policy) -> list[str]:
    """What keeps a policy's approve steps from ever being approved, with file and line.

    Args:
        file: The policy file.
        policy: What it means.
    """
    if not policy.approvals:
        return []
    configs = find_configs_folder(file)
    try:
        groups = read_approver_groups(configs)
    except NotFound as error:
        return [f"{file}:{find_line(file, ('steps',))}: {error}"]
    except PolicyInvalid as error:
        return [f"{error.path}:{line}: {rule}" for line, rule in error.problems()]
    patterns, problems = _read_principals(configs / SIGNERS_FILE)
    places = [index for index, step in enumerate(policy.steps) if isinstance(step, Approve)]
    for index, step in zip(places, policy.approvals, strict=True):
        if problem := _step_problem(step, groups, patterns):
            where = f"{file}:{find_line(file, ('steps', index, 'approve'))}: steps.{index}.approve"
            problems.append(f"{where}: {problem}")
    return problems


def list_missing_approval_tools(policy: Policy) -> list[str]:
    """What this host lacks for the approvals that a policy asks for."""
    return [KEYGEN_MISSING_MESSAGE] if policy.approvals and not find_keygen() else []


def _step_problem(step: Approve, groups: ApproverGroups, patterns: list[str]) -> str:
    if step.by not in groups.groups:
        return f"{APPROVERS_FILE} has no group '{step.by}'; groups: {', '.join(groups.groups) or 'none'}"
    people = dict.fromkeys(groups.groups[step.by])
    signing = [one for one in people if any(fnmatch.fnmatchcase(one, pattern) for pattern in patterns)]
    if not signing:
        return f"no person of group '{step.by}' has a key in {SIGNERS_FILE}"
    if step.quorum > len(signing):
        return f"quorum {step.quorum} is more than the {len(signing)} people of group '{step.by}' who have a key"
    return ""


def _read_principals(file: Path) -> tuple[list[str], list[str]]:
    """Principals that have a key, as patterns, and what is wrong with the file."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], [f"there is no {file}: it says whose keys may approve, as ssh-keygen reads it"]
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{file}:1: cannot be read: {error}"]
    patterns, problems = list[str](), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _FIELDS.match(line.strip())
        if found is None or not _KEY.search(found[2]):
            problems.append(f"{file}:{number}: expected principals, options and a public key, as in ssh-keygen(1)")
            continue
        principals = found[1].strip('"').split(",")
        if len(principals) > 1 or set(principals[0]) & set("*?!"):
            problems.append(f"{file}:{number}: name one person a line, not a list or a pattern: quorum counts people")
        patterns += principals
    return patterns, problems
