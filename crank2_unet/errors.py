"""Errors a user can act on: each message says what is wrong, the value, and what to do."""


class Crank2UnetError(Exception):
    """Base of all errors that the command line reports as one line, without a traceback."""


class InputError(Crank2UnetError):
    """A file or an option that cannot be used."""


class ModelError(Crank2UnetError):
    """The network's files are missing, damaged or do not give the values of their card."""


class DeviceError(Crank2UnetError):
    """The computing device asked for does not start."""


class ProgramError(Crank2UnetError):
    """An external program failed."""
