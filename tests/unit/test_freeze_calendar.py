"""Windows of a calendar file: whole days, time zones, repetitions, exceptions, and files that cannot be read."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from surefoot.adapters.freeze.freeze_calendar import find_calendar_problem, read_open_window

BERLIN = ZoneInfo("Europe/Berlin")
HEAD = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//team//freeze//EN\n"
CALENDAR = f"""{HEAD}BEGIN:VEVENT
UID:a
SUMMARY:Christmas
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
RRULE:FREQ=YEARLY;UNTIL=20301231
END:VEVENT
BEGIN:VEVENT
UID:b
SUMMARY:Weekend
DTSTART;TZID=Europe/Berlin:20260102T180000
DTEND;TZID=Europe/Berlin:20260105T060000
RRULE:FREQ=WEEKLY;BYDAY=FR
EXDATE;TZID=Europe/Berlin:20260109T180000
END:VEVENT
BEGIN:VEVENT
UID:b
SUMMARY:Weekend from Thursday
RECURRENCE-ID;TZID=Europe/Berlin:20260116T180000
DTSTART;TZID=Europe/Berlin:20260115T180000
DTEND;TZID=Europe/Berlin:20260116T060000
END:VEVENT
BEGIN:VEVENT
UID:c
SUMMARY:Audit
DTSTART:20270301T080000Z
DURATION:PT2H
RDATE:20270302T080000Z
END:VEVENT
BEGIN:VEVENT
UID:d
SUMMARY:Called off
STATUS:CANCELLED
DTSTART;VALUE=DATE:20270401
END:VEVENT
BEGIN:VEVENT
UID:e
SUMMARY:A day
DTSTART;VALUE=DATE:20270501
END:VEVENT
END:VCALENDAR
"""
BROKEN = {
    "no calendar": b"hello",
    "an event alone": b"BEGIN:VEVENT\nDTSTART:20260101T000000Z\nEND:VEVENT\n",
    "cut": f"{HEAD}BEGIN:VEVENT\nDTSTART:20260101T000000Z\n".encode(),
    "without a begin": f"{HEAD}BEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n".encode(),
    "with a begin of no time": f"{HEAD}BEGIN:VEVENT\nDTSTART:2026\nEND:VEVENT\nEND:VCALENDAR\n".encode(),
    "ends before it begins": (
        f"{HEAD}BEGIN:VEVENT\nDTSTART:20260102T000000Z\nDTEND:20260101T000000Z\nEND:VEVENT\nEND:VCALENDAR\n".encode()
    ),
    "with a rule of no kind": (
        f"{HEAD}BEGIN:VEVENT\nDTSTART:20260101T000000Z\nRRULE:FREQ=SOMETIMES\nEND:VEVENT\nEND:VCALENDAR\n".encode()
    ),
    "empty": b"",
    "binary": b"\xff\xfe\x00",
}


def window(folder: Path, *moment: int, zone: dt.tzinfo = BERLIN) -> tuple[str, dt.datetime] | None:
    """Title and end of the window that is open at a local time."""
    found = read_open_window(folder, dt.datetime(*moment, tzinfo=zone).timestamp())  # type: ignore[misc,arg-type]
    return None if found is None else (found.reason, dt.datetime.fromtimestamp(found.until or 0.0, zone))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the calendar."""
    (tmp_path / "freeze.ics").write_text(CALENDAR, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("moment", "title"),
    [
        ((2026, 12, 24, 0, 59), None),  # dates are those of UTC
        ((2026, 12, 24, 1), "Christmas"),
        ((2028, 12, 26, 23), "Christmas"),
        ((2031, 12, 25, 3), None),
        ((2026, 1, 2, 18), "Weekend"),
        ((2026, 1, 2, 17, 59), None),
        ((2026, 1, 9, 19), None),  # left out
        ((2026, 1, 16, 19), None),  # moved
        ((2026, 1, 15, 19), "Weekend from Thursday"),
        ((2026, 7, 3, 18), "Weekend"),  # in summer time
        ((2026, 7, 3, 17, 59), None),
        ((2026, 7, 6, 5, 59), "Weekend"),
        ((2026, 7, 6, 6), None),
        ((2027, 3, 1, 9, 30), "Audit"),
        ((2027, 3, 2, 10, 59), "Audit"),
        ((2027, 3, 2, 11), None),
        ((2027, 4, 1, 12), None),
        ((2027, 5, 1, 12), "Weekend"),  # the longer one of two
        ((2027, 5, 4, 12), None),
    ],
)
def test_the_open_window(folder: Path, moment: tuple[int, ...], title: str | None) -> None:
    """The window of a moment is found by the rules of RFC 5545, in the time zone that it names."""
    found = window(folder, *moment)
    assert (found and found[0]) == title


def test_the_end_is_a_local_time(folder: Path) -> None:
    """A window over the change to summer time ends at its local hour."""
    assert window(folder, 2026, 3, 29, 12) == ("Weekend", dt.datetime(2026, 3, 30, 6, tzinfo=BERLIN))


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_freezes(tmp_path: Path, name: str) -> None:
    """What a broken calendar would have said is not known, so that it freezes everything, and names the file."""
    (tmp_path / "freeze.ics").write_bytes(BROKEN[name])
    found = read_open_window(tmp_path, 1_800_000_000.0)
    assert found is not None
    assert found.until is None
    assert "configs/freeze.ics" in found.reason
    assert str(tmp_path) not in found.reason
    assert find_calendar_problem(tmp_path).startswith(str(tmp_path / "freeze.ics"))


def test_no_file_freezes_nothing(tmp_path: Path) -> None:
    """Without a calendar nothing is frozen, and a file that is mended is read anew."""
    assert read_open_window(tmp_path, 0.0) is None
    file = tmp_path / "freeze.ics"
    file.write_bytes(b"hello")
    assert read_open_window(tmp_path, 0.0) is not None
    file.write_text(CALENDAR, encoding="utf-8")
    assert read_open_window(tmp_path, 0.0) is None
    assert find_calendar_problem(tmp_path) == ""
