"""Count a replay's scored requests, to report its progress."""

from collections.abc import Callable

ProgressReport = Callable[[int, int], None]
"""(requests done, requests to do), for both versions together [count]; 0 done begins a pass."""


class ScoringProgress:
    """Progress of one scoring pass over some requests.

    Attributes:
        report: Is told of each step; it must not raise.
    """

    def __init__(self, report: ProgressReport) -> None:
        """Nothing is to do yet."""
        self.report = report
        self._done, self._total, self._group_end = 0, 0, 0

    def begin(self, total: int) -> None:
        """A pass begins.

        Args:
            total: Requests that are to be asked about [count].
        """
        self._done, self._total, self._group_end = 0, total, 0
        self._tell()

    def begin_file_group(self, rows: int) -> None:
        """A file group of the pass begins: whatever was counted before, the file groups before it are done.

        Args:
            rows: Requests of the file group, for both versions [count].
        """
        self._done = self._group_end
        self._group_end += rows

    def advance(self, rows: int) -> None:
        """Some more requests were asked about [count]; what is asked again does not count twice."""
        end = self._group_end or self._total
        self._done = min(self._done + rows, end)
        self._tell()

    def end(self) -> None:
        """The pass is over."""
        self._done = self._total
        self._tell()
        self._total = 0

    def _tell(self) -> None:
        if self._total:
            self.report(min(self._done, self._total), self._total)
