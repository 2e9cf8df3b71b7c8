"""Keep the results of queries over records that do not change, for back-tests that ask the same again."""

from collections.abc import Callable, Hashable

Rows = list[tuple[object, ...]]
_MAX_QUERIES = 5_000
_MAX_ROWS = 1_000
"""Larger results are not kept: a few of them would take more memory than the records."""


class QueryCache:
    """Keeps results by what they depend on; the oldest one makes room for a new one.

    Back-tests of several policies over the same records agree in most of their looks.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[Hashable, Rows] = {}

    def fetch(self, key: tuple[object, ...], run: Callable[[], Rows]) -> Rows:
        """The rows of a query, which is run where its result is not kept.

        Args:
            key: Everything that the rows depend on; with a part that cannot be hashed nothing is kept.
            run: Runs the query.
        """
        try:
            known = self._kept.get(key)
        except TypeError:
            return run()
        if known is None:
            known = run()
            if len(known) <= _MAX_ROWS:
                if len(self._kept) >= _MAX_QUERIES:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = known
        return list(known)
