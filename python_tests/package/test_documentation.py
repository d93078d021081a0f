"""The Python blocks of the README and of the pages: all compile, and those that stand by themselves
run. A block that begins with an import stands by itself, up to names that ``GIVEN`` gives it."""

import importlib
import re
from pathlib import Path

import ebm
import pytest
import torch
import torchebm

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.distributed import BlockSignState
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
# Their blocks run one after the other, each with the names of those before it.
WHOLE = ["README.md", "docs/choosing.md", "docs/divergence.md", "docs/index.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page):
    """The code of every block, on the lines that it has in the page, so that errors name them."""
    text = PAGES[page].read_text()
    return ["\n" * text[: m.start(1)].count("\n") + m[1] for m in BLOCK.finditer(text)]


def _run(code, page, names):
    exec(compile(code, page, "exec"), names)


def _particles(effebm):
    energy = MLPEnergy((2,))
    optimizer = torch.optim.SGD(energy.parameters(), lr=0.1)
    x = torch.randn(16, 2)
    energy(x).sum().backward()
    return {"energy": energy, "optimizer": optimizer, "x": x}


def _digits(effebm):
    status, _, errors = effebm(
        *("train", "--data", "digits", "--out", "runs/digits", "--quiet", "--iterations", 1),
        *("--warm-up", 0, "--langevin-steps", 1, "--ais-steps", 0),
    )
    assert status == 0, errors
    return {}


def _torchebm(effebm):
    return {"torchebm": torchebm, "eff": eff, "model": MLPEnergy((2,))}


def _ebmkit(effebm):
    return {"ebm": ebm, "energy": MLPEnergy((3,)), "buffer": ebm.ReplayBuffer(256, (3,))}


def _one_process(effebm):
    """What the pages on many processes take as given, in a group of one."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    energy = MLPEnergy((2,))
    ddp = torch.nn.parallel.DistributedDataParallel(energy)
    data = torch.randn(64, 2)
    return {
        "eff": eff, "energy": energy, "ddp": ddp, "rank": 0, "world_size": 1, "seed": 0,
        "x0": data, "data": data, "sampler": eff.Langevin(energy, step_size=0.1),
        "PersistentChains": PersistentChains, "Contrastive": Contrastive,
        "optimizer": torch.optim.Adam(energy.parameters()), "state": BlockSignState(energy),
        "generator": torch.Generator(),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def no_group_stays():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


GIVEN = {
    ("docs/distributed.md", 0): _one_process,
    ("docs/distributed.md", 1): _one_process,
    ("docs/drop_in.md", 0): _torchebm,
    ("docs/drop_in.md", 1): _ebmkit,
    ("docs/particle_dynamics.md", 0): _particles,
    ("docs/training.md", 0): _digits,
}
ALONE = [
    (page, n)
    for page in PAGES
    if page not in WHOLE
    for n, code in enumerate(_blocks(page))
    if code.lstrip().startswith(("import ", "from "))
]


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_compile(page):
    blocks = _blocks(page)
    assert len(blocks) == PAGES[page].read_text().count("```python")
    for code in blocks:
        compile(code, page, "exec")


@pytest.mark.parametrize("page", WHOLE)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for code in _blocks(page):
        _run(code, page, names)


@pytest.mark.parametrize(("page", "n"), ALONE)
def test_a_block_that_stands_by_itself_runs(page, n, effebm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = GIVEN.get((page, n), lambda effebm: {})
    _run(_blocks(page)[n], page, {"__name__": "page", **given(effebm)})


def test_every_given_name_has_its_block():
    assert set(GIVEN) <= set(ALONE)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_gaussians_have_their_widths(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    _run(_blocks(page)[0], page, names)
    printed = capsys.readouterr().out
    widths = [[float(n) for n in row.split(",")] for row in re.findall(r"\(\[(.*)\]\)", printed)]
    assert widths
    for row in widths:
        assert row == pytest.approx([0.5, 1, 2], rel=0.15)


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    named = set(re.findall(r"[\w/]+\.md", navigation))
    assert named == {page.removeprefix("docs/") for page in PAGES} - {"README.md"}


@pytest.mark.parametrize(
    "module", ["losses", "objectives", "evaluation", "samplers", "distributed", ""]
)
def test_the_api_pages_have_every_public_name(module):
    name = f"effebm_ext.{module}".removesuffix(".")
    pages = "".join(text.read_text() for page, text in PAGES.items() if "/api/" in page)
    public = {f"{name}.{n}" for n in importlib.import_module(name).__all__} - {"effebm_ext.losses"}
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    also = {f"effebm_ext.{n}" for n in ("MALA", "Langevin", "LangevinState")}
    assert public <= shown | also
