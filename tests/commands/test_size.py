"""Large maps are announced before they are made."""

import gemmi
import pytest

from crank2_unet.crystal.reflections import Reflections
from crank2_unet.jobs.result import announce_size


@pytest.mark.parametrize("edge, said", [
    (60, []),
    (250, ["The map is large, of 53 million points: it will take roughly 7 GB of memory and, on 2 "
           "cores, 4 minutes."])])
def test_size_is_announced(edge, said, caplog):
    cell = gemmi.UnitCell(edge, edge, edge, 90, 90, 90)
    announce_size(Reflections(cell, gemmi.SpaceGroup("P 21 21 21"), 2.0), 10, 2, 2.0)
    assert caplog.messages == said
