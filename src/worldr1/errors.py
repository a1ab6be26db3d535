"""The exceptions of worldr1: what the caller did wrong, or what broke.

`InputError` and its children are the user's to mend: the command line prints their text alone and exits with 2.
"""


class WorldR1Error(Exception):
    """Root of every exception that worldr1 raises on purpose."""


class InputError(WorldR1Error, ValueError):
    """Bad input: the message is one clear sentence that says what to do (exit code 2)."""


class ConfigError(InputError):
    """A recipe key is unknown, of the wrong type, or impossible together with another."""


class PromptError(InputError):
    """A prompt's camera words cannot be understood."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or belongs to a different recipe."""


class TrainingError(WorldR1Error):
    """Training cannot go on: too many faults or non-finite updates (exit code 1)."""


class ServerError(WorldR1Error, ConnectionError):
    """A server stays busy, broken or silent: not the caller's fault, and perhaps gone later (exit code 1)."""


def first_line(error: BaseException) -> str:
    """Of an exception's message, without its full stop; the exception's kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
