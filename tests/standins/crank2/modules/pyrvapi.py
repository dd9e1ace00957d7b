"""Stand-in for CCP4's report library, which Crank2 imports even if no report is wanted."""


def __getattr__(name):
    return lambda *arguments: None
