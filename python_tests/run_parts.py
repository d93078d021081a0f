"""What tests read and edit in the folder of a run."""

import json

from effebm_ext.runs.folder import checkpoint


def content(run):
    return checkpoint.load(run / "checkpoint.pt")


def config(run):
    return json.loads((run / "config.json").read_text())


def edit(run, **values):
    (run / "config.json").write_text(json.dumps({**config(run), **values}))
