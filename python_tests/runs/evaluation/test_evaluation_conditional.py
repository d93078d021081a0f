"""The evaluation of energies with classes, against integrals on a grid."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from helpers import normal

from effebm_ext.evaluation import (
    Estimate,
    annealed_by_class,
    cross_entropy,
    labelled_cross_entropy,
    mixture_cross_entropy,
    negative_log_density,
)
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.evaluate import evaluate

CENTRES = torch.tensor([[-1.5, 0.0], [1.0, 1.0], [0.5, -1.5]])
WIDTHS, OFFSETS = torch.tensor([0.4, 0.8, 0.6]), torch.tensor([3.0, -2.0, 0.5])
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
CONFIG = TrainConfig(data="x", conditional=True, data_noise=0.0, holdout=0.5, ais_steps=300)
CELL = 0.02


def energy(x, y):
    """No two classes have the same Z; the last is no Gaussian."""
    r = (x - CENTRES[y].to(x)) / WIDTHS[y, None].to(x)
    quartic = (y == 2) * (r[:, 0].square() - 1).square()
    return r.square().sum(1) / 2 + quartic + OFFSETS[y].to(x)


def of_classes(x):
    """``(n, 3)``"""
    return torch.stack([energy(x, torch.full((len(x),), y)) for y in range(3)], 1)


side = torch.arange(-6, 6, CELL, dtype=torch.float64)
GRID = torch.cartesian_prod(side, side)
LOG_Z = torch.logsumexp(-of_classes(GRID), 0) + 2 * math.log(CELL)


def samples(labels, seed):
    """Of ``p(x | y)``, drawn from the grid."""
    generator, x = torch.Generator().manual_seed(seed), torch.empty(len(labels), 2)
    densities = (-of_classes(GRID)).softmax(0)
    for y in range(3):
        rows = torch.multinomial(
            densities[:, y], int((labels == y).sum()), replacement=True, generator=generator
        )
        x[labels == y] = GRID[rows].float()
    return x


def labels_of(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(SHARES, n, replacement=True, generator=generator)


def exact(x, y, shares=SHARES):
    """Cross-entropies of x under the mixture, and of x given y."""
    terms = -of_classes(x.double()) - LOG_Z
    mixture = -torch.logsumexp(terms + shares.log(), 1)
    return mixture, -terms.gather(1, y[:, None])[:, 0]


Y = labels_of(2000, 0)
DATA = Dataset("x", samples(Y, 1), False, Y)
CHAIN_LABELS = labels_of(150, 2)
CHAINS = samples(CHAIN_LABELS, 3)


def test_both_cross_entropies_are_those_of_the_grid():
    got = evaluate(CONFIG, DATA, energy, CHAINS, CHAIN_LABELS, n_chains=150, ood="noise")
    train, held_out = DATA.split(0.5, seed=0)
    shares = train.labels.bincount().double() / len(train.labels)
    mixture, given = exact(held_out.x, held_out.labels, shares)
    mean_log_z = float((shares * LOG_Z).sum())
    for way in ("bennett", "forward", "reverse"):
        log_z_errors = [getattr(c, f"log_z_{way}_error") for c in got.classes]
        assert max(log_z_errors) < 0.2
        for name, want, spread in (
            ("cross_entropy", mixture, mixture.std()),
            ("cross_entropy_given_label", given, given.std()),
            ("log_z", torch.tensor([mean_log_z]), 0),
        ):
            value, error = (getattr(got, f"{name}_{way}{e}") for e in ("", "_error"))
            ais_error = math.sqrt(error**2 - float(spread) ** 2 / len(given))
            assert abs(value - float(want.mean())) < 3 * ais_error < 0.2
        for c, log_z in zip(got.classes, LOG_Z.tolist(), strict=True):
            value, error = getattr(c, f"log_z_{way}"), getattr(c, f"log_z_{way}_error")
            assert abs(value - log_z) < 3.5 * error
    assert [c.share for c in got.classes] == pytest.approx(shares.tolist())
    assert got.gap == pytest.approx(got.log_z_reverse - got.log_z_forward)
    assert abs(got.gap) < 3 * got.gap_error < 0.3
    assert got.cautions() == []
    assert (got.held_out, got.n_data, got.conditional) == (True, 1000, True)
    marginal = float(-torch.logsumexp(-of_classes(held_out.x), 1).mean()) + float(
        torch.logsumexp(LOG_Z, 0)
    )
    assert marginal - float(mixture.mean()) > 1  # what one Z for all classes would say


def test_other_data_are_told_by_the_density_of_the_classes():
    got = evaluate(CONFIG, DATA, energy, CHAINS, CHAIN_LABELS, n_steps=100, ood="permuted")
    held_out = DATA.split(0.5, seed=0)[1]
    scores = exact(held_out.x, held_out.labels)[0]
    swapped = held_out.x.flip(1)  # half of the permuted rows are these, half the rows themselves
    others = exact(swapped, held_out.labels)[0]
    above = (others[None] > scores[:, None]).double().mean()
    assert got.auroc == pytest.approx((float(above) + 0.5) / 2, abs=0.03)


def test_the_words_say_that_the_run_is_conditional():
    got = evaluate(CONFIG, DATA, energy, CHAINS, CHAIN_LABELS, n_steps=20)
    assert "1000 held-out rows under the conditional model of 3 classes: " in got.summary()
    assert f"Given their labels: {got.cross_entropy_given_label_bennett:.2f} ± " in got.summary()
    for words in ("conditional model of 3 classes", "cross-entropy given label, reverse",
                  "log Z, Bennett, mean"):  # fmt: skip
        assert words in got.table()
    back = json.loads(json.dumps(dataclasses.asdict(got)))
    assert [c["label"] for c in back["classes"]] == [0, 1, 2]


def test_samples_are_compared_with_data_in_the_shares_of_the_classes():
    chain_labels = torch.tensor([0] * 20 + [1] * 60 + [2] * 60)  # not as in the data
    chains = samples(chain_labels, 4)
    got = evaluate(
        CONFIG, DATA, energy, chains, chain_labels, n_steps=100, n_chains=200, two_sample=True
    )
    counts = [round(200 * c.share) for c in got.classes]
    assert got.ais_chains_reverse == sum(map(min, counts, [20, 60, 60])) < 120
    assert got.mmd2_p_value > 0.01


def test_a_class_without_two_chains_begins_at_its_data():
    for rows in (CHAIN_LABELS != 1, torch.arange(150) < 0):
        got = evaluate(CONFIG, DATA, energy, CHAINS[rows], CHAIN_LABELS[rows], n_steps=150)
        for c, log_z in zip(got.classes, LOG_Z.tolist(), strict=True):
            assert -3.5 * c.log_z_reverse_error < c.log_z_reverse - log_z < 1
        words = "data began the way back where the run has fewer than two chains of a class. They"
        assert words in got.summary()


def test_chains_are_shared_out_and_none_is_used_twice():
    got = evaluate(CONFIG, DATA, energy, CHAINS, CHAIN_LABELS, n_steps=2, n_chains=20)
    assert got.ais_chains == sum(max(8, round(20 * c.share)) for c in got.classes) == 26
    assert got.ais_chains_reverse == 26
    few = CHAIN_LABELS.argsort()[[0, 1, 2, 80, 81, 82, 83, -1, -2]]
    got = evaluate(CONFIG, DATA, energy, CHAINS[few], CHAIN_LABELS[few], n_steps=2, n_chains=20)
    assert got.ais_chains_reverse == 9
    plain = dataclasses.replace(CONFIG, conditional=False)
    got = evaluate(plain, DATA, lambda x: x.square().sum(1), normal(5, 2), n_steps=2, n_chains=20)
    assert (got.ais_chains, got.ais_chains_reverse) == (20, 5)
    assert got.ess_reverse <= 5


def test_classes_that_training_never_saw_have_no_share():
    y = torch.tensor([0, 2] * 50 + [5])
    data = Dataset("x", normal(101, 2), False, y, n_classes=6)
    seed = next(s for s in range(100) if 5 in data.split(0.5, seed=s)[1].labels)
    config = dataclasses.replace(CONFIG, seed=seed)
    got = evaluate(
        config, data, lambda x, y: energy(x, y.clamp(max=2)), CHAINS, CHAIN_LABELS,
        n_steps=20, two_sample=True,
    )  # fmt: skip
    assert [c.label for c in got.classes] == [0, 2, 5]
    assert got.classes[2].share == 0
    assert math.isfinite(got.cross_entropy_forward)
    assert math.isfinite(got.cross_entropy_given_label_reverse_error)


def test_what_cannot_be_evaluated_is_refused():
    for data, labels in ((DATA, None), (dataclasses.replace(DATA, labels=None), CHAIN_LABELS)):
        with pytest.raises(ValueError, match="labels: expected those of data and chains"):
            evaluate(CONFIG, data, energy, CHAINS, labels)
    lost = CHAINS.clone()
    lost[3, 0] = math.nan
    with pytest.raises(ValueError, match="chains: expected finite values"):
        evaluate(CONFIG, DATA, energy, lost, CHAIN_LABELS)
    base, one = (torch.zeros(2), torch.ones(2)), torch.Generator()
    for labels, counts, message in (
        (CHAIN_LABELS, [3, 3], r"labels: expected each of 0 to 1, got \[0, 1, 2\]"),
        (CHAIN_LABELS * 0, [3, 3], r"labels: expected each of 0 to 1, got \[0\]"),
        (CHAIN_LABELS[1:], [3, 3, 3], r"labels: expected one for each of \d+ samples, got shape"),
        (CHAIN_LABELS, [], "n_chains: expected a number for each class, got none"),
        (CHAIN_LABELS, [3, 0, 3], "n_steps, n_chains: .* got n_steps=1000, n_chains=3, 0, 3"),
    ):
        with pytest.raises(ValueError, match=message):
            annealed_by_class(energy, CHAINS, labels, base, n_chains=counts, generator=one)


ENERGIES = torch.tensor([[1.0, 4.0], [3.0, 2.0], [0.5, 0.5]])
CONSTANTS = [Estimate(2.0, 0.3), Estimate(-1.0, 0.4)]
HALVES = torch.tensor([0.25, 0.75], dtype=torch.float64)


def test_the_density_of_a_mixture_and_its_errors():
    z = torch.tensor([2.0, -1.0], dtype=torch.float64)
    want = -((HALVES * (-ENERGIES.double() - z).exp()).sum(1)).log()
    torch.testing.assert_close(negative_log_density(CONSTANTS, HALVES, ENERGIES), want)
    got = mixture_cross_entropy(CONSTANTS, HALVES, ENERGIES)
    assert got.value == pytest.approx(float(want.mean()))
    slopes = []
    for k in range(2):
        moved = [Estimate(v + 1e-5 * (i == k), e) for i, (v, e) in enumerate(CONSTANTS)]
        slopes.append((mixture_cross_entropy(moved, HALVES, ENERGIES).value - got.value) / 1e-5)
    errors = [slope * z.error for slope, z in zip(slopes, CONSTANTS, strict=True)]
    assert got.error == pytest.approx(math.hypot(float(want.std()) / 3**0.5, *errors), rel=1e-4)


def test_the_cross_entropy_given_labels_and_its_error():
    labels = torch.tensor([0, 1, 1])
    values = torch.tensor([1.0 + 2, 2.0 - 1, 0.5 - 1])
    got = labelled_cross_entropy(CONSTANTS, ENERGIES, labels)
    assert got.value == pytest.approx(float(values.mean()))
    error = math.hypot(float(values.std()) / 3**0.5, 0.3 / 3, 0.4 * 2 / 3)
    assert got.error == pytest.approx(error)


def test_one_class_is_the_energy_itself():
    one = mixture_cross_entropy(CONSTANTS[:1], HALVES[:1] * 4, ENERGIES[:, :1])
    assert one == cross_entropy(CONSTANTS[0], ENERGIES[:, 0])


@pytest.mark.parametrize("bad", [torch.zeros(0, 2), torch.zeros(3, 3), ENERGIES * math.inf])
def test_bad_energies_are_refused(bad):
    with pytest.raises(ValueError, match=r"energies: expected finite values \(n, 2\), n >= 1"):
        mixture_cross_entropy(CONSTANTS, HALVES, bad)


def test_a_conditional_run_reports_both_cross_entropies(effebm, tmp_path):
    run = tmp_path / "run"
    options = ["--chains", 5, "--langevin-steps", 1, "--iterations", 2, "--batch-size", 4]
    flags = ["--conditional", "--ais-steps", 5, "--evaluate-every", 2]
    status, printed, _ = effebm("train", "--data", "two-moons", *options, *flags, "--out", run)
    assert status == 0
    assert "under the conditional model of 2 classes" in printed
    first = json.loads((run / "evaluation.json").read_text())
    status, printed, _ = effebm("evaluate", run, "--ood", "noise")
    assert status == 0
    assert "cross-entropy given label, forward" in printed
    again = json.loads((run / "evaluation.json").read_text())
    assert {n for n in first if first[n] != again[n]} == {
        "mmd2", "mmd2_null_std", "mmd2_p_value", "ood", "auroc"
    }  # fmt: skip
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[1])
    assert math.isfinite(line["cross_entropy_forward"])
    assert np.isclose(sum(c["share"] for c in first["classes"]), 1)
