"""Show the progress and the speed of a replay as a bar in the terminal."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TimeRemainingColumn
from rich.text import Text

from surefoot.adapters.replay.scoring_progress import ProgressReport


class _RateColumn(ProgressColumn):
    """Requests a second, for both versions together."""

    def render(self, task: Task) -> Text:
        """How many requests of how many, and how fast."""
        rate = f", {task.speed:,.0f} rows/s" if task.speed else ""
        return Text(f"{task.completed:,.0f} of {task.total or 0:,.0f} rows{rate}")


class _Bar:
    """A bar that is there while a pass lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is; 0 begins a pass."""
        if self._bar is None:
            columns = ("both versions", BarColumn(), TaskProgressColumn(), _RateColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Remove it."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextlib.contextmanager
def replay_progress_bar(*, quiet: bool) -> Iterator[ProgressReport]:
    """Give what shows a bar on standard error; it shows nothing where that is no terminal.

    Args:
        quiet: Show nothing at all.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _done, _total: None
        return
    bar = _Bar(console)
    try:
        yield bar
    finally:
        bar.close()
