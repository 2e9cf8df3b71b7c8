"""Load Great Expectations as this module is imported, in a process that others are forked from."""

from surefoot.adapters.expectations.great_expectations import import_great_expectations

import_great_expectations()
