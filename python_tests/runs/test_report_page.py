"""The page about a run, which a browser shows without any other file."""

import html.parser
import json
import re

import pytest

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.runs.training.run_folder import RunFolder


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


def test_a_run_without_pictures_has_a_page_too(tmp_path, run):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    page = Page(write_report(tmp_path))
    assert page.pictures == []
    assert "0 of 4 iterations" in "\n".join(page.texts)


def test_a_folder_without_a_run_has_no_page(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path)
