"""Losses of score matching against closed forms, and finite differences against what they
approximate."""

import itertools

import pytest
import torch
from score_problems import DIM, Gaussian, Mixture, Network, along, data, directions
from torch.testing import assert_close

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.energies import score_of
from effebm_ext.losses import finite_differences
from effebm_ext.networks import MLPEnergy
from effebm_ext.ops.perturb import perturbed_pair

KEY = eff.Key(7)
SIGMA = 0.3


def call(name, energy, x, **options):
    """Any of the seven, of an energy, with the same noise every time."""
    if name != "sm":
        options = {"rng": KEY, **options}
    if name.endswith("dsm"):
        options = {"sigma": SIGMA, **options}
    network = energy if name in ("fd_ssm", "fd_dsm") else score_of(energy)
    return getattr(losses, name)(network, x, **options).loss


EXACT = ["sm", "ssm", "ssm_vr", "dsm"]
FINITE = ["fd_ssm", "fd_ssm_vr", "fd_dsm"]
ALL = EXACT + FINITE


@pytest.mark.parametrize("problem", [Gaussian(), Mixture()], ids=["gaussian", "mixture"])
def test_exact_losses_are_their_closed_forms(problem):
    x = data()
    s, hessian = problem.score(x), problem.hessian(x)
    v = DIM**0.5 * directions(x, KEY)
    trace = torch.einsum("nii->n", hessian)
    norm, slope = s.square().sum(1) / 2, along(hessian, v)
    assert_close(score_of(problem)(x), s)
    assert_close(call("sm", problem, x), (norm + trace).mean())
    assert_close(call("ssm", problem, x), ((v * s).sum(1).square() / 2 + slope).mean())
    assert_close(call("ssm_vr", problem, x), (norm + slope).mean())
    terms = losses.sm(problem.score, x).terms
    assert_close(terms, {"score_norm": norm.mean(), "trace": trace.mean()})
    noise = perturbed_pair(torch.zeros_like(x), 1.0, noise_std=SIGMA, rng=KEY).x.mean(0)
    residual = SIGMA**2 * problem.score(x + noise) + noise
    want = residual.square().sum(1).mean() / 2
    assert_close(call("dsm", problem, x), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("epsilon", [10.0, 1.0, 0.1, 1e-3])
def test_finite_differences_are_exact_for_quadratic_energies_whatever_epsilon(epsilon):
    problem, x = Gaussian(), data()
    v, s = directions(x, KEY), problem.score(x)
    slope = along(problem.hessian(x), v)
    sliced = DIM * ((v * s).sum(1).square() / 2 + slope).mean()
    close = {"rtol": 1e-8, "atol": 1e-8}
    assert_close(call("fd_ssm", problem, x, epsilon=epsilon), sliced, **close)
    reduced = (s.square().sum(1) / 2 + DIM * slope).mean()
    assert_close(call("fd_ssm_vr", problem, x, epsilon=epsilon), reduced, **close)
    noise = perturbed_pair(torch.zeros_like(x), 1.0, noise_std=SIGMA, rng=KEY).x.mean(0)
    residual = ((SIGMA**2 * problem.score(x + noise) + noise) * v).sum(1)
    denoised = DIM / 2 * residual.square().mean()
    assert_close(call("fd_dsm", problem, x, epsilon=epsilon), denoised, **close)


def test_a_score_that_is_no_gradient_has_its_trace_too():
    matrix = torch.arange(DIM * DIM, dtype=torch.float64).reshape(DIM, DIM) / 10
    x, v = data(), directions(data(), KEY)

    def score(x):
        return x @ matrix.T

    want = (score(x).square().sum(1) / 2 + DIM * ((v @ matrix.T) * v).sum(1)).mean()
    assert_close(losses.ssm_vr(score, x, rng=KEY).loss, want)
    for epsilon in (1.0, 1e-3):
        assert_close(losses.fd_ssm_vr(score, x, epsilon, rng=KEY).loss, want)
    assert_close(losses.sm(score, x).loss, score(x).square().sum(1).mean() / 2 + matrix.trace())


def limit(name, energy, x):
    """Of a loss by finite differences as epsilon falls, with the same noise and directions."""
    if name != "fd_dsm":
        return call(name.removeprefix("fd_"), energy, x)
    v = directions(x, KEY)
    noise = perturbed_pair(torch.zeros_like(x), 1.0, noise_std=SIGMA, rng=KEY).x.mean(0)
    residual = ((SIGMA**2 * score_of(energy)(x + noise) + noise) * v).sum(1)
    return DIM / 2 * residual.square().mean()


@pytest.mark.parametrize("name", FINITE)
def test_the_error_is_of_second_order_in_epsilon(name):
    problem, x = Mixture(), data()
    want = limit(name, problem, x)
    errors = [
        float(call(name, problem, x, epsilon=0.2 / 2**i).detach() - want.detach()) for i in range(4)
    ]
    assert abs(errors[-1]) < 1e-3
    orders = [errors[i] / errors[i + 1] for i in range(3)]
    assert orders == pytest.approx([4, 4, 4], rel=0.05)


@pytest.mark.parametrize("name", FINITE)
def test_parameter_gradients_agree_as_epsilon_falls(name):
    network, x = Network(), data()

    def gradient(loss):
        grads = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
        return torch.cat([g.flatten() for g in grads])

    want = gradient(limit(name, network, x))
    errors = [
        float((gradient(call(name, network, x, epsilon=e)) - want).norm() / want.norm())
        for e in (0.4, 0.2, 0.1, 0.05)
    ]
    assert errors[-1] < 1e-3
    assert [a / b for a, b in itertools.pairwise(errors)] == pytest.approx([4, 4, 4], rel=0.1)


@pytest.mark.parametrize(("name", "exact"), [
    ("ssm", "sm"), ("ssm_vr", "sm"), ("fd_ssm", "sm"), ("fd_ssm_vr", "sm"), ("fd_dsm", "dsm"),
])  # fmt: skip
def test_directions_average_out(name, exact):
    """Of the same rows every time, so that only the noise and the directions scatter."""
    problem, repeats = Mixture(), 50
    options = {"epsilon": 1e-3} if name.startswith("fd") else {}
    differences = []
    for i in range(repeats):
        x = data(64, seed=9)
        rng = eff.Key(1, i)
        found = call(name, problem, x, rng=rng, **options)
        want = call("dsm", problem, x, rng=rng) if exact == "dsm" else call("sm", problem, x)
        differences.append(found - want)
    found = torch.stack(differences)
    error = found.std() / repeats**0.5
    assert 0 < error < 0.1
    assert abs(found.mean()) < 4 * error


@pytest.mark.parametrize("name", ALL)
def test_unscaled_losses_are_a_d_th_part(name):
    x = data().reshape(40, 1, DIM, 1)
    energy = lambda x: Mixture()(x.flatten(1))  # noqa: E731
    assert_close(call(name, energy, x), DIM * call(name, energy, x, scaled=False))
    assert_close(call(name, energy, x), call(name, Mixture(), data()))


@pytest.mark.parametrize("name", FINITE)
def test_one_after_the_other_is_the_same_for_a_pass_of_fewer_rows(name):
    network, x, rows = Network(), data(), []
    y = torch.arange(40) % 3
    hook = network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    found, passes = [], []
    for concatenated in (True, False):
        rows.clear()
        loss = call(name, network, x, energy_kwargs={"y": y}, concatenated=concatenated)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters())])
        network.zero_grad()
        passes.append(rows.copy())
    hook.remove()
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert passes[0] == [120 if name == "fd_ssm" else 80]
    assert set(passes[1]) == {40}


@pytest.mark.parametrize("name", ALL)
def test_labels_stay_with_their_rows(name):
    network, x, y = Network(), data(), torch.arange(40) % 3
    found = call(name, network, x, energy_kwargs={"y": y})
    rows = [
        call(name, network, x[i : i + 1], energy_kwargs={"y": y[i : i + 1]})
        if name == "sm"
        else call(
            name, network, x[i : i + 1], energy_kwargs={"y": y[i : i + 1]}, rng=eff.Key(7, 0, i)
        )
        for i in range(40)
    ]
    assert_close(found, torch.stack(rows).mean())


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
def test_several_scales_are_one_where_they_are_equal(name):
    x, problem = data(), Mixture()
    one = call(name, problem, x)
    several = call(name, problem, x, base_sigma=SIGMA)
    assert_close(several, one * 2 / SIGMA**6)
    scales = torch.full((40,), SIGMA, dtype=torch.float64)
    assert_close(call(name, problem, x, sigma=scales, base_sigma=SIGMA), several)
    assert_close(call(name, problem, x, sigma=scales), one)


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
def test_every_row_has_its_own_scale(name):
    x, problem, base = data(6), Mixture(), 0.3
    scales = torch.linspace(0.1, 1.1, 6, dtype=torch.float64)
    rows = [
        call(name, problem, x[i : i + 1], sigma=float(s), base_sigma=base, rng=eff.Key(7, 0, i))
        for i, s in enumerate(scales)
    ]
    found = call(name, problem, x, sigma=scales, base_sigma=base)
    assert_close(found, torch.stack(rows).mean())


def test_several_scales_project_the_score_of_the_base_scale():
    x, problem, base = data(), Mixture(), 0.3
    scales = torch.linspace(0.1, 1.1, 40, dtype=torch.float64)
    v = directions(x, KEY)
    noise = perturbed_pair(torch.zeros_like(x), 1.0, noise_std=scales, rng=KEY).x.mean(0)
    residual = problem.score(x + noise) + noise / base**2
    options = {"sigma": scales, "base_sigma": base}
    want = (residual.square().sum(1) / scales**2).mean()
    assert_close(call("dsm", problem, x, **options), want)
    want = DIM * ((residual * v).sum(1).square() / scales**2).mean()
    assert_close(call("fd_dsm", problem, x, epsilon=1e-3, **options), want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", FINITE)
def test_networks_of_16_bits_are_differenced_in_float32(name, monkeypatch):
    monkeypatch.setattr(finite_differences, "_warned", set())
    x = data().float()
    narrow = lambda x: Mixture()(x).bfloat16()  # noqa: E731
    with pytest.warns(RuntimeWarning, match="too small .* in torch.bfloat16") as seen:
        loss = (
            losses.fd_ssm_vr(lambda x: Mixture().score(x).bfloat16(), x, 1e-3, rng=KEY).loss
            if name == "fd_ssm_vr"
            else call(name, narrow, x, epsilon=1e-3)
        )
    assert loss.dtype == torch.float32
    if name == "fd_ssm_vr":
        wide_score = lambda x: Mixture().score(x).bfloat16().float()  # noqa: E731
        wide = losses.fd_ssm_vr(wide_score, x, 1e-3, rng=KEY).loss
    else:
        wide = call(name, lambda x: narrow(x).float(), x, epsilon=1e-3)
    assert torch.equal(loss, wide)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_losses_without_gradients_are_the_same_values():
    for name in ALL:
        with torch.no_grad():
            value = call(name, Mixture(), data())
        assert torch.equal(value, call(name, Mixture(), data()).detach())
        assert not value.requires_grad


def test_energies_may_have_an_axis_of_one():
    for name in ALL:
        column = lambda x: Mixture()(x)[:, None]  # noqa: E731
        assert torch.equal(call(name, column, data()), call(name, Mixture(), data()))


@pytest.mark.parametrize("name", FINITE)
def test_data_get_no_gradient_and_are_left_alone(name):
    x = data().requires_grad_()
    before = x.detach().clone()
    call(name, Network(), x).backward()
    assert x.grad is None
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: losses.fd_ssm(Mixture(), x, 0.0), "epsilon: expected a finite number > 0, got"),
        (lambda x: losses.fd_dsm(Mixture(), x, 0.1, -1.0), "epsilon: .* got -1.0"),
        (lambda x: losses.fd_ssm_vr(Mixture().score, x, float("nan")), "epsilon: .* got nan"),
        (lambda x: losses.dsm(Mixture().score, x, 0.0), "sigma: expected a finite number > 0, got"),
        (lambda x: losses.fd_dsm(Mixture(), x, 0.1, base_sigma=-0.1), "base_sigma: .* got -0.1"),
        (lambda x: losses.fd_ssm(lambda x: x, x), r"energy: expected one value per row"),
        (lambda x: losses.fd_ssm(lambda x: x.sum(), x), "energy: expected a value for each of"),
        (lambda x: losses.fd_ssm_vr(Mixture(), x), r"score: expected the shape of x, \(40, 5\)"),
    ],
)
def test_bad_arguments_are_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run(data())


def test_the_score_of_an_energy_drives_a_sampler():
    energy, x = MLPEnergy((3,), width=8), data(6)[:, :3].float()
    options = {"step_size": 0.1, "compressor": eff.TopK(1)}
    by_score = eff.Langevin(score=score_of(energy), **options).sample(x, 5, rng=KEY)
    assert torch.equal(by_score, eff.Langevin(energy, **options).sample(x, 5, rng=KEY))
    assert not by_score.requires_grad
