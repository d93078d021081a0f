"""One sees a run train: pictures at checkpoints, when it is interrupted and at the end."""

import math

import pytest
import torch
from helpers import normal
from PIL import Image

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.model import load_model
from effebm_ext.runs.showing import gallery, plotting
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.runs.training.progress import Progress
from effebm_ext.runs.training.run_folder import RunFolder
from effebm_ext.samplers import LangevinState

RUN = ["--data", "digits", "--chains", 4, "--batch-size", 4, "--langevin-steps", 1]
RUN = [*RUN, "--ais-steps", 0, "--iterations", 25, "--checkpoint-every", 10]


def frames(run):
    return sorted(path.name for path in (run / "samples").iterdir())


def test_every_checkpoint_is_drawn_while_there_is_time(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "_SHARE", 1e9)
    assert effebm("train", *RUN, "--out", tmp_path)[0] == 0
    assert frames(tmp_path) == ["000010.png", "000020.png", "000025.png"]
    last = (tmp_path / "samples" / "000025.png").read_bytes()
    assert (tmp_path / "samples.png").read_bytes() == last
    with Image.open(tmp_path / "samples.gif") as animation:
        assert animation.n_frames == 3
    assert (tmp_path / "curves.png").exists()


def test_slow_runs_have_a_picture_before_a_checkpoint(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "_FIRST", 0.0)
    monkeypatch.setattr(gallery, "_SHARE", 0.0)
    drawn, save = [], plotting.save
    monkeypatch.setattr(
        plotting, "save", lambda path, figure: drawn.append(path) or save(path, figure)
    )
    assert effebm("train", *RUN, "--iterations", 5, "--out", tmp_path)[0] == 0
    assert drawn == [tmp_path / name for name in ("samples.png", "curves.png")] * 2
    assert frames(tmp_path) == ["000005.png"]


def test_fast_runs_do_not_wait_for_their_pictures(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "_SHARE", 0.0)
    assert effebm("train", *RUN, "--out", tmp_path)[0] == 0
    assert frames(tmp_path) == ["000010.png", "000025.png"]


def test_the_warm_up_shows_data_with_and_without_noise(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery, "_SHARE", 1e9)
    monkeypatch.setattr(gallery, "_FIRST", 1e9)  # no picture more where the machine is slow
    titles, draw = [], plotting.draw_progress

    def drawn(*arguments, title, **options):
        titles.append(title)
        return draw(*arguments, title=title, **options)

    monkeypatch.setattr(plotting, "draw_progress", drawn)
    warm_up = ["--denoising-weight", 1, "--warm-up", 20]
    assert effebm("train", *RUN, *warm_up, "--out", tmp_path)[0] == 0
    learned = "warm-up: data without noise, by the energy of iteration {}"
    expected = [learned.format(10), learned.format(20), "chains after 25 iterations"]
    assert titles == expected
    assert frames(tmp_path) == ["000025.png"]


@pytest.mark.parametrize("conditional", [False, True])
def test_the_energy_of_the_warm_up_takes_noise_off(monkeypatch, tmp_path, conditional):
    """Images of one grey are easily told from their noise."""
    drawn, draw = [], plotting.draw_progress
    monkeypatch.setattr(
        plotting, "draw_progress", lambda *a, **k: drawn.append((a, k)) or draw(*a, **k)
    )
    dataset = by_class(300)
    config = TrainConfig(energy="unet", width=8, chains=8, batch_size=32, iterations=60, warm_up=60,
                         denoising_weight=1.0, ais_steps=0, conditional=conditional)  # fmt: skip
    RunFolder(tmp_path / "run").train(config, dataset, make_trainer(config, dataset))
    (clean_again, data), options = drawn[-1]
    assert options["beside_title"] == "data with noise"
    noise, rest = options["beside"] - data, clean_again - data
    assert float(noise.std()) == pytest.approx(0.3, rel=0.05)
    assert float(rest.square().mean()) < 0.5 * float(noise.square().mean())


def test_titles_show_any_name(tmp_path):
    x, labels = normal(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
    title = "chains, classes $a{, $b, \udcff"
    figure = plotting.draw_progress(x, x, is_image=True, labels=labels, title=title)
    plotting.save(tmp_path / "x.png", figure)
    assert figure.axes[0].get_title() == "chains, classes $a{, $b, \\udcff"


def test_one_iteration_is_not_several(tmp_path):
    title = gallery.Gallery(tmp_path, TrainConfig().resolved("points"), None)._title
    assert [title(1), title(2)] == ["chains after 1 iteration", "chains after 2 iterations"]


def test_an_interrupted_run_leaves_pictures_and_says_how_to_go_on(effebm, tmp_path):
    status, _, error = effebm("train", *RUN, "--out", tmp_path, stop_after=3)
    assert status == 130
    assert frames(tmp_path) == ["000003.png"]
    assert (tmp_path / "samples.png").exists()
    assert (tmp_path / "curves.png").exists()
    assert f"effebm: go on with: effebm train --resume {tmp_path}\n" in error


def test_an_overwritten_run_takes_its_pictures_with_it(effebm, tmp_path):
    effebm("train", *RUN, "--out", tmp_path, stop_after=3)
    longer = [*RUN, "--iterations", 1]
    assert effebm("train", *longer, "--out", tmp_path, "--overwrite")[0] == 0
    assert frames(tmp_path) == ["000001.png"]
    assert not (tmp_path / "samples.gif").exists()


def curves(monkeypatch, tmp_path, losses):
    """The panel of these losses."""
    figures = []
    monkeypatch.setattr(plotting, "save", lambda path, figure: figures.append(figure))
    metrics = [{"iteration": i + 1, "seconds": 0.0, "loss": x} for i, x in enumerate(losses)]
    plotting.save_curves(tmp_path / "curves.png", [{**m, "gap": 1.0} for m in metrics])
    return figures[0].axes[0]


def test_single_values_far_off_do_not_flatten_a_curve(monkeypatch, tmp_path):
    losses = [100 / (i + 1) ** 0.5 for i in range(300)]
    losses[150] = 1e9
    panel = curves(monkeypatch, tmp_path, losses)
    assert panel.get_ylim()[1] < 200
    assert panel.get_ylabel() == "loss\n(3 outside)"  # the first two are just above the limit
    assert panel.lines[0].get_ydata()[150] == 1e9


def test_rare_events_of_a_curve_are_shown(monkeypatch, tmp_path):
    panel = curves(monkeypatch, tmp_path, [float(i == 150) for i in range(300)])
    low, high = panel.get_ylim()
    assert low < 0 < 1 < high
    assert panel.get_ylabel() == "loss"


@pytest.mark.parametrize("n", [5, 300])
def test_curves_without_such_values_are_shown_whole(monkeypatch, tmp_path, n):
    panel = curves(monkeypatch, tmp_path, [float(i % 7) for i in range(n - 1)] + [float("nan")])
    low, high = panel.get_ylim()
    assert low <= 0
    assert high >= min(6, n - 2)
    assert panel.get_ylabel() == "loss"


def test_chains_are_shown_beside_data():
    x = torch.rand(5, 1, 8, 8)
    options = {"is_image": True, "title": "chains after 7 iterations"}
    left, right = plotting.draw_progress(x, 1 - x, labels=None, **options).axes
    assert left.get_title() == "chains after 7 iterations"
    assert right.get_title() == "data"
    low, high = float((1 - x).min()), float((1 - x).max())
    grids = [plotting.image_grid((images - low).clamp(0, high - low) / (high - low))
             for images in (x, 1 - x)]  # fmt: skip
    for axes, grid in zip((left, right), grids, strict=True):
        assert axes.images[0].get_array().data == pytest.approx(grid)


def by_class(n, classes=3):
    """Images of one grey each, in the order of their classes as in a sorted file."""
    y = torch.arange(n) * classes // n
    x = (y / (classes - 1))[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    return Dataset("sorted", x, True, y, class_names=("a", "b", "c"))


def test_the_data_that_are_shown_are_a_random_draw():
    dataset = by_class(3000)
    shown = [dataset.examples(64, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(shown[0].x, shown[1].x)
    assert not torch.equal(shown[0].x, shown[2].x)
    counts = shown[0].labels.bincount(minlength=3)
    assert (counts - 64 / 3).abs().max() < 4 * math.sqrt(64 * 2 / 9)  # four standard errors
    assert torch.equal(shown[0].x[:, 0, 0, 0], shown[0].labels / 2)
    everything = dataset.examples(9999, seed=0)
    assert torch.equal(everything.labels.bincount(), torch.tensor([1000, 1000, 1000]))


@pytest.mark.parametrize("conditional", [False, True])
def test_pictures_show_all_classes_of_a_sorted_file(monkeypatch, tmp_path, conditional):
    drawn, draw = [], plotting.draw_progress
    monkeypatch.setattr(
        plotting, "draw_progress", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1]
    )
    dataset = by_class(300)
    config = TrainConfig(chains=8, batch_size=4, iterations=1, ais_steps=0, langevin_steps=1,
                         conditional=conditional)  # fmt: skip
    RunFolder(tmp_path / "run").train(config, dataset, make_trainer(config, dataset))
    left, right = drawn[-1].axes
    grid = right.images[0].get_array()[1::9, 1::9].ravel()
    assert set(grid.tolist()) == {0.0, 0.5, 1.0}
    assert (grid == sorted(grid)).all() == conditional
    title = "chains after 1 iteration" + ", 3 classes: a, b, c" * conditional
    assert left.get_title() == title
    assert set(load_model(tmp_path / "run").data.unique().tolist()) == {0.0, 0.5, 1.0}
    assert load_model(tmp_path / "run").class_names == ("a", "b", "c")


def test_long_animations_keep_their_last_picture(tmp_path):
    paths = []
    for i in range(130):
        paths.append(tmp_path / f"{i:06d}.png")
        Image.new("RGB", (4, 4), (i, 0, 0)).save(paths[-1])
    plotting.save_animation(tmp_path / "x.gif", paths)
    with Image.open(tmp_path / "x.gif") as animation:
        assert 40 <= animation.n_frames <= 61
        animation.seek(animation.n_frames - 1)
        assert animation.convert("RGB").getpixel((0, 0)) == (129, 0, 0)


class Moving:
    """A trainer whose chains have made so many steps."""

    def __init__(self, n_chains):
        self.state = LangevinState.without_chains(torch.zeros(1, 2), labelled=False)
        self.state.x = torch.zeros(n_chains, 2)

    def text(self, progress, seconds, step):
        self.state.step = step
        return progress.text({"seconds": seconds, "energy_gap": 1.0})


def test_the_bar_counts_steps_of_chains_since_the_last_look():
    trainer = Moving(8)
    progress = Progress(TrainConfig().resolved("points"), trainer)
    assert trainer.text(progress, 0.5, 10) == "energy gap +1.000"
    assert trainer.text(progress, 2.0, 40) == "energy gap +1.000, 160 chain steps/s"
    assert trainer.text(progress, 2.5, 80) == "energy gap +1.000, 160 chain steps/s"
    assert trainer.text(progress, 4.0, 1040) == "energy gap +1.000, 4,000 chain steps/s"
    assert trainer.text(progress, 9.0, 1040) == "energy gap +1.000"


def test_the_bar_counts_only_walkers_that_move():
    trainer = Moving(8)
    config = TrainConfig(objective="jarzynski", moved_chains=2).resolved("points")
    assert trainer.text(Progress(config, trainer), 2.0, 10).endswith(", 10 chain steps/s")
