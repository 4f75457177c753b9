"""The one way to fail: an error whose message is written for the user."""


class ImmuneError(Exception):
    """Bad usage or bad input: one plain sentence that says what, where and what to do.

    The command line prints it after ``error:`` and exits with `exit_code`.
    """

    exit_code = 2


class CheckFailed(ImmuneError):
    """A check ran and failed."""

    exit_code = 1
