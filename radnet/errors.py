"""Errors that are a user's to mend, and the exit codes every program shares."""

OK = 0
BUG = 1
USAGE = 2
FINISHED_WITH_FAILURES = 8
SAVED_ON_SIGNAL = 75


class UsageError(ValueError):
    """Wrong usage, configuration or input; the message is one line: what was given, what was expected, what to do."""
