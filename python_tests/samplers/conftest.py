"""What tests of captured chains share."""

import pytest
import recorded_graphs
import stand_in

from effebm_ext.samplers import captured


@pytest.fixture
def captures(device, monkeypatch):
    """The functions that were captured."""
    made = []
    kind = recorded_graphs.Graphs if device == stand_in.DEVICE else captured.Graphs

    class Counted(kind):
        def record(self, function):
            made.append(function)
            return super().record(function)

    monkeypatch.setattr(captured, "Graphs", Counted)
    return made
