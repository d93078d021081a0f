"""The page about a run, which a browser shows without any other file."""

import dataclasses
import html.parser
import json
import re
import signal

import pytest

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.runs.training.run_folder import RunFolder
from effebm_ext.runs.training.stopping import Stopped, Stopping


class Page(html.parser.HTMLParser):
    """The texts, the sources of pictures and the addresses of a page."""

    def __init__(self, path):
        super().__init__()
        self.texts, self.pictures, self.addresses = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.pictures += [value for name, value in attrs if tag == "img" and name == "src"]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path, data = tmp_path_factory.mktemp("runs") / "<a & b>", load("digits")
    config = TrainConfig(
        data="digits", iterations=4, checkpoint_every=2, ais_steps=2, chains=4, batch_size=4
    )
    RunFolder(path).train(config, data, make_trainer(config, data))
    return path


def test_the_page_needs_no_other_file(run):
    page = Page(write_report(run))
    assert page.addresses
    assert all(re.match(r"data:image/(png|gif);base64,\w", a) for a in page.addresses)


def test_the_page_says_what_the_run_did(run):
    page = Page(write_report(run))
    text = "\n".join(page.texts)
    assert "<a & b>" in page.texts
    assert "digits, objective contrastive, " in text
    assert "4 of 4 iterations in" in text
    assert "bits per dimension" in text
    assert "log Z, forward" in text
    options = json.loads((run / "config.json").read_text())
    assert set(options) - {"format"} <= set(page.texts)
    assert page.texts.index("ais_steps") < page.texts.index("Other options")


def test_the_page_speaks_of_what_is_there(run):
    page = Page(write_report(run))
    assert "None" not in page.texts
    assert "not given" in page.texts
    for name in ("loss", "grad_norm", "energy_gap", "chain_std"):
        assert page.texts.count(name) == 1
    assert "ess" not in page.texts
    assert "--resume" not in "\n".join(page.texts)


def test_a_run_that_was_stopped_says_how_to_go_on(tmp_path):
    run, data = tmp_path / "a run", load("rings")
    config = TrainConfig(data="rings", iterations=9, chains=2, langevin_steps=1, ais_steps=0)
    trainer = make_trainer(config, data)
    with pytest.raises(Stopped), Stopping() as stopping:
        RunFolder(run).train(
            config,
            data,
            trainer,
            progress=lambda m: m["iteration"] == 3 and signal.raise_signal(signal.SIGTERM),
            stopping=stopping,
        )
    page = Page(run / "report.html")
    assert f"effebm train --resume '{run}'" in page.texts
    assert "3 of 9 iterations" in "\n".join(page.texts)
    RunFolder(run, resume=True).resume(config, data, make_trainer(config, data))
    assert "--resume" not in (run / "report.html").read_text()


def test_a_prolonged_run_drops_its_old_evaluation(effebm, tmp_path):
    run = tmp_path / "run"
    tiny = ["--data", "rings", "--chains", 4, "--langevin-steps", 1, "--iterations", 4]
    assert effebm("train", *tiny, "--ais-steps", 2, "--out", run)[0] == 0
    evaluation = (run / "evaluation.json").read_bytes()
    assert effebm("train", "--resume", run, "--ais-steps", 0)[0] == 0
    assert (run / "evaluation.json").read_bytes() == evaluation  # it is of this iteration
    assert "Evaluation" in Page(run / "report.html").texts
    assert effebm("train", "--resume", run, "--iterations", 9)[0] == 0
    assert not (run / "evaluation.json").exists()
    assert "Evaluation" not in Page(run / "report.html").texts


def test_a_run_stopped_while_prolonged_has_none_either(tmp_path):
    run, data = tmp_path / "run", load("rings")
    config = TrainConfig(data="rings", iterations=4, chains=2, langevin_steps=1, ais_steps=2)
    RunFolder(run).train(config, data, make_trainer(config, data))
    assert "Evaluation" in Page(run / "report.html").texts
    longer = dataclasses.replace(config, iterations=9)
    with pytest.raises(Stopped), Stopping() as stopping:
        RunFolder(run, resume=True).resume(
            longer,
            data,
            make_trainer(longer, data),
            progress=lambda m: m["iteration"] == 6 and signal.raise_signal(signal.SIGTERM),
            stopping=stopping,
        )
    page = Page(run / "report.html")
    assert "6 of 9 iterations" in "\n".join(page.texts)
    assert "Evaluation" not in page.texts


def test_a_run_without_pictures_has_a_page_too(tmp_path, run):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    page = Page(write_report(tmp_path))
    assert page.pictures == []
    assert "0 of 4 iterations" in "\n".join(page.texts)


def test_a_folder_without_a_run_has_no_page(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path)
