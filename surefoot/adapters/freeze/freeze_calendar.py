"""Find the open change-freeze window in the calendar file `freeze.ics`."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.core.errors import Rejected
from surefoot.core.operator_reason import clean_reason
from surefoot.core.stages.hold_events import FreezeBegan, FreezeSource

_FREEZE_FILE = "freeze.ics"
"""Name of the calendar file beside the policies."""
_MAX_BYTES = 2_000_000
_MAX_REPEATS = 100_000
"""More repetitions of one event than this before the time that is asked for are refused [count]."""
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Window:
    """An event of the calendar that may repeat.

    Attributes:
        title: What it is called.
        uid: Its id; a repetition that was moved has the same.
        start: Begin of the first one.
        lasts: How long each lasts.
        starts: Rule and dates of the repetitions, or None where there is one only.
        moved: The repetition that it replaces, or None.
    """

    title: str
    uid: str
    start: dt.datetime
    lasts: dt.timedelta
    starts: Any
    moved: dt.datetime | None


_KNOWN: dict[Path, tuple[tuple[int, int], tuple[_Window, ...]]] = {}
"""Events of each file, as long as the file is the same."""


def read_open_window(configs: Path, now: float) -> FreezeBegan | None:
    """The window that is open, the one that ends last where there are several; None where none is, or no file.

    A file that cannot be read freezes everything: what it would have said is not known.

    Args:
        configs: Folder of the policies.
        now: Time of the policies' clock [Unix seconds].
    """
    try:
        windows = _read_windows(configs / _FREEZE_FILE)
    except FileNotFoundError:
        return None
    except Rejected as error:
        said = str(error).replace(str(configs / _FREEZE_FILE), f"configs/{_FREEZE_FILE}")
        return FreezeBegan(FreezeSource.CALENDAR, clean_reason(said).text)
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    moved: set[tuple[str, dt.datetime | None]] = {(one.uid, one.moved) for one in windows if one.moved is not None}
    found = [(end, one.title) for one in windows for end in _ends(one, moment, moved)]
    if not found:
        return None
    end, title = max(found)
    return FreezeBegan(FreezeSource.CALENDAR, clean_reason(title).text, end.timestamp())


def find_calendar_problem(configs: Path) -> str:
    """What is wrong with the calendar file of a folder; empty where nothing is, or no file is there."""
    try:
        _read_windows(configs / _FREEZE_FILE)
    except FileNotFoundError:
        return ""
    except Rejected as error:
        return str(error)
    return ""


def _read_windows(file: Path) -> tuple[_Window, ...]:
    """Every event of a calendar file.

    Raises:
        FileNotFoundError: There is no such file.
        Rejected: It is no calendar, or an event in it has no begin or a rule that cannot be read.
    """
    try:
        stat = file.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        if file in _KNOWN and _KNOWN[file][0] == mark:
            return _KNOWN[file][1]
        if stat.st_size > _MAX_BYTES:
            raise Rejected(f"{file} is larger than {_MAX_BYTES:,} bytes: no calendar of freezes is")
        body = file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}") from error
    windows = tuple(_parse(file, body))
    _KNOWN[file] = mark, windows
    return windows


def _parse(file: Path, body: bytes) -> Iterator[_Window]:
    from icalendar import Calendar  # noqa: PLC0415 - only where there is a calendar

    try:
        calendars = Calendar.from_ical(body, multiple=True)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise Rejected(f"{file} is no calendar: {error}") from error
    if not calendars or any(one.name != "VCALENDAR" for one in calendars):
        raise Rejected(f"{file} is no calendar: it must begin with BEGIN:VCALENDAR")
    for calendar in calendars:
        for event in calendar.walk("VEVENT"):
            title = str(event.get("SUMMARY", "") or event.get("UID", "") or "a window of the calendar")
            if str(event.get("STATUS", "")).upper() == "CANCELLED" and "RECURRENCE-ID" not in event:
                continue
            try:
                yield _window(event, title)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
                raise Rejected(f"{file}: event '{title[:60]}' cannot be read: {error}") from error


def _window(event: Any, title: str) -> _Window:
    if getattr(event, "errors", None):
        name, problem = event.errors[0]
        raise ValueError(f"{name}: {problem}")
    start = event["DTSTART"].dt
    whole_days = not isinstance(start, dt.datetime)
    begin = _moment(start)
    if "DTEND" in event:
        lasts = _moment(event["DTEND"].dt) - begin
    elif "DURATION" in event:
        lasts = event["DURATION"].dt
    else:
        lasts = _DAY if whole_days else dt.timedelta(0)
    if lasts < dt.timedelta(0):
        raise ValueError("it ends before it begins")
    moved = _moment(event["RECURRENCE-ID"].dt) if "RECURRENCE-ID" in event else None
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        lasts = dt.timedelta(0)  # a repetition that does not take place
    return _Window(title, str(event.get("UID", "")), begin, lasts, _starts(event, begin), moved)


def _starts(event: Any, begin: dt.datetime) -> Any:
    """Begins of an event that repeats, as dateutil has them; None where it does not.

    Local times stay local, so that a window of eight o'clock stays there when the clocks change.
    """
    from dateutil.rrule import rruleset, rrulestr  # noqa: PLC0415 - only where something repeats

    rules, dates, left_out = (_listed(event.get(name)) for name in ("RRULE", "RDATE", "EXDATE"))
    if not rules and not dates:
        return None
    found = rruleset()
    found.rdate(begin)
    for rule in rules:
        found.rrule(rrulestr(_aware_until(rule), dtstart=begin))
    for date in (one.dt for many in dates for one in many.dts):
        found.rdate(_moment(date[0] if isinstance(date, tuple) else date))
    for date in (one.dt for many in left_out for one in many.dts):
        found.exdate(_moment(date))
    return found


def _aware_until(rule: Any) -> str:
    """A rule whose end is in UTC, as dateutil wants it beside a begin with a time zone."""
    fixed = dict(rule)
    if "UNTIL" in fixed:
        fixed["UNTIL"] = [
            _moment(one, end_of_day=True).astimezone(dt.UTC).replace(microsecond=0) for one in _listed(fixed["UNTIL"])
        ]
    return str(type(rule)(fixed).to_ical().decode())


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _moment(value: dt.date, *, end_of_day: bool = False) -> dt.datetime:
    """A time with a time zone; dates and times that name none are in UTC."""
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    at = dt.time(23, 59, 59) if end_of_day else dt.time()
    return dt.datetime.combine(value, at, dt.UTC)


def _ends(window: _Window, moment: dt.datetime, moved: set[tuple[str, dt.datetime | None]]) -> Iterator[dt.datetime]:
    """Ends of the repetitions of an event that are open at a moment."""
    for start in _candidates(window, moment):
        replaced = window.moved is None and (window.uid, start) in moved
        end = (start.astimezone(dt.UTC) + window.lasts) if window.lasts < _DAY else start + window.lasts
        if not replaced and start <= moment < end:
            yield end


def _candidates(window: _Window, moment: dt.datetime) -> Sequence[dt.datetime]:
    """Begins that may be open at a moment."""
    if window.starts is None:
        return [window.start]
    earliest = moment - window.lasts - _DAY
    found = []
    for number, start in enumerate(window.starts):
        if start > moment:
            break
        if number >= _MAX_REPEATS:
            raise Rejected(f"event '{window.title[:60]}' of the calendar repeats too often: give it an end")
        if start >= earliest:
            found.append(start)
    return found
