"""Choose the work for which flows start at a tick, and wait longer before each retry."""

from dataclasses import dataclass

MAX_WAIT_TICKS = 10
"""Most ticks between two attempts at the same work [count]."""


@dataclass(frozen=True, slots=True)
class OneTimeWork:
    """Signature of work for which a flow is started only once, until the signature changes."""

    signature: object


@dataclass(slots=True)
class _Attempt:
    signature: object
    count: int
    again: int


class Backoff:
    """Remembers for which work a flow was started already, and when it is started again.

    Work of which nothing has changed since is asked for again after 1, 2, 4 and 8 ticks, and then every ten.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._tick = 0
        self._attempts: dict[str, _Attempt] = {}

    def choose_due(self, wanted: dict[str, object]) -> list[str]:
        """Which work is asked for at this tick.

        Args:
            wanted: What is to be done -> what that rests on; work that is not in it any more is forgotten.
        """
        self._tick += 1
        self._attempts = {name: one for name, one in self._attempts.items() if name in wanted}
        chosen = []
        for name, signature in wanted.items():
            known = self._attempts.get(name)
            if known is None or known.signature != signature:
                known = self._attempts[name] = _Attempt(signature, 0, self._tick)
            if isinstance(signature, OneTimeWork) and known.count:
                continue
            if self._tick >= known.again:
                known.again = self._tick + min(2**known.count, MAX_WAIT_TICKS)
                known.count += 1
                chosen.append(name)
        return chosen
