"""Define the results of corner cases: answers to generated rows, and to rare groups with older requests added."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CornerResult:
    """What both versions made of the synthetic rows of one corner.

    Attributes:
        name: The corner, for example "carrier empty".
        rows: Rows that were made [count].
        broken: Rows on which the candidate breaks and the champion does not [count].
        both: Rows on which both break; a champion whose process has ended too often breaks on all that follow [count].
        champion: Rows on which the champion alone breaks [count].
        unasked: Rows that the champion answers and that the candidate was not asked, because its process had ended too
            often [count].
    """

    name: str
    rows: int
    broken: int = 0
    both: int = 0
    champion: int = 0
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """The smallest row of a corner on which the candidate breaks and the champion does not.

    Attributes:
        corner: The corner.
        request: Id of the real request that the row was made from.
        what: What the candidate does, in one line.
        changed: Values that differ from the real request, by column, as JSON text.
        recorded: Values of the real request in these columns, as JSON text.
        row: The whole row, as JSON text.
        champion: The champion's answer, as JSON text.
    """

    corner: str
    request: str
    what: str
    changed: str
    recorded: str
    row: str
    champion: str


@dataclass(frozen=True, slots=True)
class CornerAnswers:
    """What both versions made of the synthetic rows of all corners.

    Attributes:
        corners: One each.
        needed: Rows that each must have [count].
        seed: What the rows were drawn from.
        digest: SHA-256 of all rows, to show that drawing them again gives the same.
        samples: One broken row for each of the first corners with one.
    """

    corners: tuple[CornerResult, ...]
    needed: int
    seed: int
    digest: str
    samples: tuple[BrokenRow, ...] = ()


@dataclass(frozen=True, slots=True)
class SupplementedGroup:
    """A group that was too rare in the window, and the older real requests that were added to it alone.

    Attributes:
        name: The group, for example "origin=LGA".
        recorded: Its requests in the window that count [count].
        added: Older requests that were added [count].
        needed: Requests that its gate needs [count].
        since: When the oldest of the added ones was received [Unix seconds].
        unanswered: Older requests that the champion can answer and the candidate cannot [count].
    """

    name: str
    recorded: int
    added: int
    needed: int
    since: float
    unanswered: int = 0
