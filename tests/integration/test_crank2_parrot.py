"""Which Parrot a step with masks of the network runs, and how it is given them."""

import pytest

from crank2_unet.crank2.programs import choose_parrot
from crank2_unet.errors import ProgramError


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """An empty PATH, and a function that puts a program on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CCP4", raising=False)
    monkeypatch.delenv("CRANK2_UNET_PARROT", raising=False)
    choose_parrot.cache_clear()

    def add(name, usage):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{usage}'\n")
        path.chmod(0o755)
        return str(path)

    yield add
    choose_parrot.cache_clear()


@pytest.mark.parametrize("usage, route", [("-mtzin X -mskin Y", "mskin"), ("-mtzin X", "carrier")])
def test_the_installed_one(programs, usage, route):
    parrot = programs("cparrot", usage)
    assert choose_parrot(None) == (parrot, route)


def test_the_one_a_job_names_comes_first(programs):
    programs("cparrot", "-mtzin -mskin")
    other = programs("other", "-mtzin")
    assert choose_parrot(other) == (other, "carrier")


def test_ours_where_there_is_none(programs):
    ours = programs("unet-parrot", "-mtzin -mskin")
    assert choose_parrot(None) == (ours, "unet-parrot")


def test_a_wrong_name_and_a_stranger_are_told(programs, monkeypatch):
    monkeypatch.setenv("CRANK2_UNET_PARROT", "/nor/this")
    with pytest.raises(ProgramError, match="There is no program /nor/this. Correct CRANK2_UNET"):
        choose_parrot(None)
    monkeypatch.delenv("CRANK2_UNET_PARROT")
    choose_parrot.cache_clear()
    with pytest.raises(ProgramError, match="There is no program /no/cparrot. Correct binary::"):
        choose_parrot("/no/cparrot")
    programs("cparrot", "I am something else")
    with pytest.raises(ProgramError, match="does not print the options of Parrot"):
        choose_parrot(None)
