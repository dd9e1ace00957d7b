"""What a running command says on stderr."""

import io
import logging
import sys

import pytest

from crank2_unet import process
from crank2_unet.process import ProgressLine, reporting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_ends_in_a_line_when_all_is_done(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressLine("working") as progress:
        for done in (1, 2, 2):  # said again, it is not begun again
            progress(done, 2)
        said = sys.stderr.getvalue()
        assert said.endswith("\n") and "working: 100%" in said and "2/2" in said
    assert sys.stderr.getvalue() == said


@pytest.mark.parametrize("seconds, lines", [(0.1, []), (3, ["working: 2 of 3", "working: 3 of 3"])])
def test_a_log_file_gets_the_end_of_what_took_long(seconds, lines, monkeypatch, capsys):
    now = iter(range(100))
    monkeypatch.setattr(process.time, "monotonic", lambda: seconds * next(now))
    with ProgressLine("working") as progress:
        for done in (1, 2, 3, 3):
            progress(done, 3)
    assert capsys.readouterr().err.splitlines() == lines


def test_what_is_done_is_said_without_prefix(capsys):
    def work():
        log = logging.getLogger("crank2_unet.jobs")
        log.info("drawing the report")
        log.warning("The map is large.")
        log.debug("nothing for users")
    assert reporting(work) == 0
    assert capsys.readouterr().err.splitlines() == ["drawing the report", "WARNING: The map is large."]
