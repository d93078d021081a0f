"""Runs that are stopped and go on, compared with runs that nothing stops."""

from kill_and_resume import result


def metrics_of_stopped_and_resumed(effebm, folder, flags, iterations):
    """Returns the metrics of a run that is stopped after so many iterations and resumed; it has to
    equal a run that is not, to the bit."""
    assert effebm("train", "--out", folder / "whole", *flags)[0] == 0
    run = folder / "run"
    assert effebm("train", "--out", run, *flags, stop_after=iterations)[0] == 130
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == result(folder / "whole")
    return result(run)[1]
