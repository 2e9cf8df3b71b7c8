"""Read a policy file as strict YAML, with errors that name file and line."""

from collections.abc import Sequence
from pathlib import Path

from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.policy.parse import examine_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.vacuous_settings import vacuous_settings
from surefoot.core.policy.violations import KeyPath as Place
from surefoot.core.policy.violations import Violation, ViolationKind

_GATE_PATH_LENGTH = 2
"""Length of a path that leads to a gate or to all of them [keys]."""

_READ: dict[Path, tuple[tuple[int, int, int], Policy]] = {}
"""Policy of each file, as long as the file is the same."""


def read_policy(path: Path) -> tuple[dict[str, object], Policy]:
    """Read a policy file.

    Returns:
        The mapping as it stands in the file (JSON values), and the Policy it means.

    Raises:
        NotFound: There is no such file; the message lists those beside it.
        PolicyInvalid: Names file, line and rule of everything in it that is broken.
    """
    if not path.is_file():
        known = ", ".join(item.stem for item in sorted(path.parent.glob("*.yaml"))) or "none"
        raise NotFound(f"there is no policy {path}; policies in {path.parent}: {known}")
    document = YamlDocument()
    value = load_yaml(path, document)
    examined = examine_policy(value)
    broken = list(examined.broken)
    odd = {violation.path[:2] for violation in (*document.unread, *broken)}
    fine = [gate for name, gate in examined.gates.items() if gate is not None and ("gates", name) not in odd]
    broken += vacuous_settings(fine, examined.fail)
    broken = _own(document.unread, broken)
    found = [(document.line(v.path), str(v)) for v in (*document.unread, *broken)]
    if found or examined.policy is None:
        (line, rule), *more = found
        raise PolicyInvalid(str(path), line, rule, more, examined.suite)
    return value, examined.policy


def read_cached_policy(path: Path) -> Policy:
    """The policy of a file, read again only when the file has changed; raises what `read_policy` does.

    A flow reads the policies of all models several times, and each takes some ten milliseconds.
    """
    try:
        found = path.stat()
    except OSError:
        return read_policy(path)[1]
    mark = (found.st_mtime_ns, found.st_size, found.st_ino)
    known = _READ.get(path)
    if known is None or known[0] != mark:
        known = _READ[path] = mark, read_policy(path)[1]
    return known[1]


def find_line(path: Path, place: Place) -> int:
    """Line number of an entry in a readable policy file [one-based].

    Raises:
        PolicyInvalid: It cannot be read any more.
    """
    document = YamlDocument()
    load_yaml(path, document)
    return document.line(place)


def _own(unread: Sequence[Violation], broken: Sequence[Violation]) -> list[Violation]:
    """Broken rules that do not follow from another mistake in the same file."""
    # What could not be read as a value is told as that, and not again as what it is no value for.
    kept = [v for v in broken if not any(v.path[: len(one.path)] == one.path for one in unread)]
    unnamed = [one.path[:-1] for one in unread if one.path and one.path[-1] in {"?", "<<"}]
    kept = [v for v in kept if not (v.path in unnamed and v.mistake is ViolationKind.MISSING_KEY)]
    strange = [v for v in kept if v.mistake is ViolationKind.STRANGE_NAME]
    if any(v.path[:1] == ("gates",) and len(v.path) <= _GATE_PATH_LENGTH for v in (*unread, *strange)):
        kept = [v for v in kept if v.mistake is not ViolationKind.NO_SUCH_GATE]  # it may be the one that is unread
    return kept
