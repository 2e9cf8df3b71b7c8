"""Print text, tables and JSON on the terminal."""

import datetime as dt
import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)


_WORD_COLOURS = {
    "Promoted": "green",
    "PASS": "green",
    "FAIL": "red",
    "Rejected": "red",
    "RolledBack": "red",
    "FastRolledBack": "red",
    "Aborted": "red",
    "INCONCLUSIVE": "yellow",
    "NO_DATA": "yellow",
    "ERROR": "magenta",
    "STALE": "yellow",
}


def format_utc_time(at: float) -> str:
    """A time for people, UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def colour_outcome_words(text: str) -> str:
    """Escape a sentence and colour the words of outcomes and stages."""
    words = escape(text).split(" ")
    return " ".join(f"[{c}]{w}[/{c}]" if (c := _WORD_COLOURS.get(w.rstrip(":,;"))) else w for w in words)


def print_table(table: Table, narrowest: int = 160) -> None:
    """Print a table; where no person's window limits it, wide enough for whole sentences [characters]."""
    if console.is_terminal:
        console.print(table)
    else:
        Console(highlight=False, width=max(console.width, narrowest)).print(table)


def print_json(value: object) -> None:
    """Print JSON for a program."""
    print(json.dumps(value, indent=2, sort_keys=True))  # noqa: T201 - standard output is the interface
