"""A query over records that do not change is run once for each thing that its rows depend on."""

from surefoot.adapters.predictions.recorded import query_cache
from surefoot.adapters.predictions.recorded.query_cache import QueryCache, Rows


class Query:
    """Counts how often it is run."""

    def __init__(self, rows: int = 1) -> None:
        """It has so many rows."""
        self.rows, self.runs = rows, 0

    def __call__(self) -> Rows:
        """Run it."""
        self.runs += 1
        return [(self.runs,)] * self.rows


def test_the_same_query_is_run_once() -> None:
    """The rows of the first run are given again, as a list of the caller's own, and another key is another query."""
    cache, query = QueryCache(), Query()
    first = cache.fetch(("salt", "SELECT 1", 2.0), query)
    first.append(("changed by its caller",))
    assert cache.fetch(("salt", "SELECT 1", 2.0), query) == [(1,)]
    assert cache.fetch(("other salt", "SELECT 1", 2.0), query) == [(2,)]
    assert query.runs == 2


def test_what_cannot_be_kept_is_run_each_time() -> None:
    """A parameter that cannot be hashed, and a result of many rows, leave nothing behind."""
    cache, query, large = QueryCache(), Query(), Query(1_001)
    for _ in range(2):
        cache.fetch(("SELECT 1", ["a list"]), query)
        cache.fetch(("SELECT 2",), large)
    assert (query.runs, large.runs) == (2, 2)


def test_the_oldest_result_makes_room() -> None:
    """As many results are kept as there is room for, and no more."""
    cache, query = QueryCache(), Query()
    for number in range(query_cache._MAX_QUERIES + 1):
        cache.fetch((number,), query)
    cache.fetch((query_cache._MAX_QUERIES,), query)
    assert query.runs == query_cache._MAX_QUERIES + 1
    cache.fetch((0,), query)
    assert query.runs == query_cache._MAX_QUERIES + 2
