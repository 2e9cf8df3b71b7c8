"""Read the calendar of freezes."""
