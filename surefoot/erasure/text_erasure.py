"""Remove the names of erased units and requests from traces, reports and logs, and find texts that quote them."""

import html
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from surefoot.adapters.predictions.erasure.erasure_record import ErasureProgressReport, ErasureRecord
from surefoot.adapters.predictions.erasure.requests_to_erase import RequestsToErase
from surefoot.adapters.served_answers.triage.trace_file import encode_traces, read_traces
from surefoot.core.errors import EvidenceUnavailable
from surefoot.core.journal.chain import Entry, canonical_bytes
from surefoot.core.naming.model_names import model_file_name

_TRACES = ".traces.json"
_TRACED_PLACE = "traces of requests"
_SHORTEST_NAME = 4
_SHORTEST_NUMBER = 6
"""Shorter names, and numbers of fewer digits, stand in texts for much else [characters]: they are not looked for."""
_NAMES_AT_ONCE = 2000
"""Names that one pattern looks for [count]."""


class ErasedNamePatterns:
    """Finds the names of a unit and of its requests in texts, as whole words."""

    def __init__(self, erased: RequestsToErase) -> None:
        """Look for the names of these."""
        names = {name: new for name, new in erased.names.items() if _is_distinctive(name)}
        spelt = {form: new for name, new in names.items() for form in _forms(name)}
        self._names = spelt | names
        ordered = sorted(self._names, key=len, reverse=True)
        chunks = [ordered[place : place + _NAMES_AT_ONCE] for place in range(0, len(ordered), _NAMES_AT_ONCE)]
        self._patterns = [
            re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, some)) + r")(?![\w-])") for some in chunks
        ]

    def occurs_in(self, text: str) -> bool:
        """Whether a text names one of them."""
        return any(pattern.search(text) for pattern in self._patterns)

    def replace_in(self, text: str) -> tuple[str, int]:
        """The text with what stands for each name, and how many there were."""
        total = 0
        for pattern in self._patterns:
            text, count = pattern.subn(lambda found: self._names[found[0]], text)
            total += count
        return text, total

    def spans_in(self, text: str) -> list[tuple[int, int]]:
        """Where the names stand."""
        return sorted(found.span() for pattern in self._patterns for found in pattern.finditer(text))


def _forms(name: str) -> tuple[str, str]:
    """A name as JSON and as HTML write it."""
    return json.dumps(name, ensure_ascii=False)[1:-1], html.escape(name)


def _is_distinctive(name: str) -> bool:
    return len(name) >= (_SHORTEST_NUMBER if name.replace(".", "").isdigit() else _SHORTEST_NAME)


def find_quoting_journal_entries(entries: Iterable[Entry], erased: RequestsToErase) -> tuple[int, ...]:
    """Sequences of the entries whose text names the unit or one of its requests.

    An entry cannot be changed: the chain of hashes would break. What it quotes is said, so that a person knows.
    """
    patterns = ErasedNamePatterns(erased)
    return tuple(one.seq for one in entries if patterns.occurs_in(canonical_bytes(one.data).decode()))


def find_quoted_texts(home: Path, model: str, entries: Iterable[Entry], texts: Iterable[str]) -> tuple[str, ...]:
    """Those of some texts that a trace, a page, a log or a journal entry quotes.

    Raises:
        EvidenceUnavailable: A file cannot be read.
    """
    left, found = set(texts), set[str]()
    try:
        for path in (*_traces(home, model), *_pages(home, model), *_logs(home)):
            content = path.read_bytes()
            found |= {text for text in left if text.encode() in content or html.escape(text).encode() in content}
            left -= found
    except OSError as error:
        raise EvidenceUnavailable(f"a page of {model} cannot be read: {error}") from error
    for entry in entries if left else ():
        content = canonical_bytes(entry.data)
        found |= {text for text in left if json.dumps(text, ensure_ascii=False)[1:-1].encode() in content}
        left -= found
    return tuple(sorted(found))


def _traces(home: Path, model: str) -> list[Path]:
    return sorted((home / "incidents" / model_file_name(model)).glob(f"*{_TRACES}"))


def _pages(home: Path, model: str) -> list[Path]:
    folder = home / "incidents" / model_file_name(model)
    own = [path for ending in ("*.html", "*.md") for path in sorted(folder.glob(ending))]
    return own + sorted((home / "reports").glob("*.html"))


def _logs(home: Path) -> list[Path]:
    return sorted((home / "logs").glob("*.log"))


def erase_from_texts(home: Path, model: str, record: ErasureRecord, report: ErasureProgressReport) -> tuple[str, ...]:
    """Remove erased requests from traces, and the names of unit and requests from pages and logs.

    Args:
        home: The state folder.
        model: Registered model.
        record: What is erased.
        report: Is told how far it is.

    Returns:
        Incidents whose traces this erasure has changed: their reports are to be written again.

    Raises:
        EvidenceUnavailable: A file cannot be read or written.
    """
    patterns, pages, logs = ErasedNamePatterns(record.erased), _pages(home, model), _logs(home)
    total, traced = len(pages) + len(logs), _traces(home, model)
    try:
        for path in traced:
            _erase_traces(path, model, record, patterns)
        for done, path in enumerate(pages):
            report("pages and logs", done, total)
            _replace_names(path, str(path.relative_to(home)), record, patterns)
        for done, path in enumerate(logs, len(pages)):
            report("pages and logs", done, total)
            _overwrite_names(path, str(path.relative_to(home)), record, patterns)
        report("pages and logs", total, total)
    except OSError as error:
        raise EvidenceUnavailable(f"a page of {model} is not erased yet, repeat the command: {error}") from error
    # From the record: a run that was killed may have changed them, and have drawn no report.
    return tuple(name.removesuffix(_TRACES) for name in record.removed.get(_TRACED_PLACE, {}))


def _erase_traces(path: Path, model: str, record: ErasureRecord, patterns: ErasedNamePatterns) -> None:
    """Remove the traces of erased requests from a file."""
    traces, requests = read_traces(path), record.erased.requests
    concerned = [one for one in traces if one.request in requests]
    if not concerned:
        return
    held = [one for one in concerned if requests[one.request]]
    record.count(_TRACED_PLACE, path.name, len(concerned) - len(held), len(held))
    left = [
        replace(one, request=requests.get(one.request) or one.request)
        for one in traces
        if one.request not in requests or requests[one.request]
    ]
    if left:
        text, _ = patterns.replace_in(encode_traces(model, left).decode())
        _write(path, text.encode())
    else:
        path.unlink()


def _replace_names(path: Path, name: str, record: ErasureRecord, patterns: ErasedNamePatterns) -> None:
    text, count = patterns.replace_in(path.read_text(encoding="utf-8"))
    if count:
        record.count("names in pages", name, count)
        _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
    fresh.write_bytes(content)
    fresh.chmod(0o640)
    fresh.replace(path)


def _overwrite_names(path: Path, name: str, record: ErasureRecord, patterns: ErasedNamePatterns) -> None:
    """Overwrite names in a log in place: a process may have it open and append to it."""
    text = path.read_bytes().decode("latin-1")  # a byte is a character: places in the text are places in the file
    spans = patterns.spans_in(text)
    if not spans:
        return
    record.count("names in logs", name, len(spans))
    with path.open("r+b") as file:
        for start, end in spans:
            file.seek(start)
            file.write(b"*" * (end - start))
