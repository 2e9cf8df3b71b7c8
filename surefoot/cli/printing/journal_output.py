"""Print the journal entries of a model, or convert them to JSON."""

from collections.abc import Sequence

from rich.markup import escape

from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectIntended, decode_event


def _entry_line(entry: Entry) -> str:
    """One journal entry as one line."""
    said = " ".join(describe_event(decode_event(entry.kind, entry.data)).split())
    return f"{format_utc_time(entry.at)}  {entry.seq:>4}  {colour_outcome_words(said)}"


def print_history(entries: Sequence[Entry], *, everything: bool) -> None:
    """Print a journal; intents only on request, since each is followed by what became of it."""
    for entry in entries:
        if everything or not isinstance(decode_event(entry.kind, entry.data), EffectIntended):
            console.print(f"{_entry_line(entry)}  [dim]{escape(entry.actor)}[/dim]")


def entry_json(entry: Entry) -> dict[str, object]:
    """A journal entry as JSON."""
    return {
        "actor": entry.actor,
        "at": entry.at,
        "data": entry.data,
        "hash": entry.hash,
        "kind": entry.kind,
        "model": entry.model,
        "seq": entry.seq,
        "wall": entry.wall,
    }
