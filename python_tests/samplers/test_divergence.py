"""Chains that diverge: which are noticed, and what keep, raise and restart do about them."""

import copy
import math
import pickle
import warnings

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff

KEY = eff.Key(0)
START = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0)) + 0.5


def gamma(x):
    """Gamma(2): E = x - log x for x > 0, NaN elsewhere."""
    return (x - torch.log(x)).sum(1)


def root(x):
    """Finite at 0, where its gradient is not; NaN below."""
    return x.sqrt().sum(1)


def falling(wall, beyond):
    """Chains that go down by 1 a step, to a wall."""
    return eff.Langevin(
        lambda x: torch.where(x[:, 0] > wall, x[:, 0], x[:, 0] + beyond),
        step_size=2.0,
        temperature=0.0,
    )


def quiet(function, *arguments, **options):
    """The result, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments, **options)


def warned(function, *arguments, **options):
    """The result, and the text of the one warning, which is at this line."""
    with pytest.warns(RuntimeWarning) as seen:
        result = function(*arguments, **options)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    return result, str(seen[0].message)


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device, as of a GPU that must not be waited for."""

    is_cpu = False


def elsewhere(x):
    return x.as_subclass(Elsewhere)


def chains_by_hand(energy, x, step_size, n_steps):
    """Where they are before every step and after the last, and whether the energy is finite."""
    states, finite = [x], []
    for step in range(n_steps):
        leaf = x.clone().requires_grad_()
        values = energy(leaf)
        finite.append(values.isfinite())
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        x = eff.langevin_step(x, gradient, step_size, rng=KEY.at(step))
        states.append(x)
    return states, torch.stack([*finite, energy(x).isfinite()])


@pytest.mark.parametrize("thin", [1, 7, 200])
def test_chains_out_of_the_support_are_counted_and_warned_of(thin):
    states, finite = chains_by_hand(gamma, START, 0.2, 200)
    ever = ~finite.all(0)
    assert int((states[-1] <= 0).sum()) > 800
    sampler = eff.Langevin(gamma, step_size=0.2)
    run, text = warned(sampler.run, START, 200, thin=thin, rng=KEY)
    assert_same_bits(run.x, states[-1])
    assert run.info.diverged.shape == (200 // thin, 1000)
    assert run.info.diverged.dtype == torch.bool
    assert torch.equal(run.info.diverged[0], ~finite[: thin + (thin == 200)].all(0))
    assert torch.equal(run.info.diverged.any(0), ever)
    assert f"{int(ever.sum())} of 1000 chains diverged in steps 0 to 199" in text
    assert "the energy of chain 0 is nan" in text
    for remedy in ("step_size", "clip=", "bounds=", "MALA", "on_divergence"):
        assert remedy in text
    assert_same_bits(quiet(sampler.sample, START, 200, rng=KEY), run.x)  # it has warned
    fresh = eff.Langevin(gamma, step_size=0.2)
    assert_same_bits(warned(fresh.sample, START, 200, rng=KEY)[0], run.x)


def test_packed_runs_tell_the_same():
    def twice(x):
        return gamma(x) / 2

    sampler = eff.Langevin(twice, step_size=0.4, compressor=eff.BlockSign(1))
    dense, _ = warned(sampler.run, START, 20, thin=3, rng=KEY)
    packed = sampler.run(START, 20, thin=3, trajectory="packed", rng=KEY)
    assert torch.equal(packed.info.diverged, dense.info.diverged)
    assert packed.info.diverged.any()


def test_windows_say_when_a_chain_diverged():
    x0 = torch.tensor([[3.0], [7.0], [-9.0]])
    run, _ = warned(falling(-0.5, math.nan).run, x0, 6, thin=2, rng=KEY)
    wanted = [[False, False, True], [False, False, True], [True, False, True]]
    assert run.info.diverged.tolist() == wanted
    # the end of the run belongs to the last window
    run, _ = warned(falling(-0.5, math.inf).run, x0, 4, rng=KEY)
    assert run.info.diverged[:, 0].tolist() == [False, False, False, True]
    run, _ = warned(falling(-0.5, math.inf).run, x0, 4, thin=3, rng=KEY)
    assert run.info.diverged[:, 0].tolist() == [True]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n_steps", [1, 2, 64, 150])
def test_any_energy_that_is_not_finite_is_seen(bad, n_steps):
    def energy(x):
        return torch.where(torch.arange(len(x)) == 3, bad, 0.0) + 0 * x.sum(1)

    sampler = eff.Langevin(energy, step_size=0.1)
    state = sampler.init(torch.zeros(6, 2), rng=KEY)
    info, text = warned(sampler.advance_, state, n_steps)
    assert info.diverged.tolist() == [False, False, False, True, False, False]
    steps = "at step 0" if n_steps == 1 else f"in steps 0 to {n_steps - 1}"
    assert f"1 of 6 chains diverged {steps}: the energy of chain 3 is {bad}" in text
    _, info = quiet(sampler.step, state)
    assert info.diverged.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_last_step_to_infinity_is_seen_by_the_same_call(dtype):
    sampler = eff.Langevin(root, step_size=0.1)
    state = sampler.init(torch.tensor([[1.0, 2.0], [1.0, 0.0]], dtype=dtype), rng=KEY)
    info, text = warned(sampler.advance_, state)
    assert info.diverged.tolist() == [False, True]
    assert info.energy.isfinite().all()
    assert "1 of 2 chains diverged after step 0: the state of chain 1 is -inf" in text


def test_a_state_of_nan_is_seen_whatever_the_energy_makes_of_it():
    def energy(x):
        return x.abs().sqrt().nan_to_num(0.0).sum(1)

    x, text = warned(eff.Langevin(energy, step_size=0.1).sample, torch.eye(2), 1, rng=KEY)
    assert x.isnan().sum() == 2
    assert energy(x).isfinite().all()
    assert "2 of 2 chains diverged after step 0: the state of chain 0 is nan" in text


def test_a_last_step_out_of_the_support_is_seen():
    x0 = torch.tensor([[0.0], [5.0]])
    _, text = warned(falling(-0.5, math.nan).sample, x0, 1, rng=KEY)
    assert "1 of 2 chains diverged after step 0: the energy of chain 0 is nan" in text
    sampler = falling(-0.5, math.nan)
    state = sampler.init(x0, rng=KEY)
    assert not quiet(sampler.advance_, state).diverged.any()  # its next call sees it
    info, _ = warned(sampler.advance_, state)
    assert info.diverged.tolist() == [True, False]


@pytest.mark.parametrize("n_steps", [1, 70])
def test_scores_that_are_not_finite_are_seen(n_steps):
    x0 = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[1.0, -1.0]]])
    inverse = eff.Langevin(score=lambda x: 1 / x, step_size=1e-6, bounds=(0.0, 9.0))
    info, text = warned(inverse.advance_, inverse.init(x0[:2], rng=KEY), n_steps)
    assert info.diverged.tolist() == [True, False]
    nan = eff.Langevin(score=lambda x: -x.sqrt(), step_size=1e-6, temperature=0.0)
    state = nan.init(x0, rng=KEY)
    info, text = warned(nan.advance_, state, n_steps)
    assert info.diverged.tolist() == [False, False, True]
    assert "the score of chain 2 is nan" in text
    flat = eff.Langevin(score=torch.tanh, step_size=1e-6)  # finite, but the state is not
    info, text = warned(flat.advance_, flat.init(x0 / x0, rng=KEY), n_steps)
    assert info.diverged.tolist() == [True, False, False]


def test_what_is_large_but_finite_has_not_diverged():
    def energy(x):
        return torch.finfo(x.dtype).max + 0 * x[:, 0]

    for x in (torch.full((8, 3), 3e38), torch.full((8, 3000), 60000.0, dtype=torch.float16)):
        sampler = eff.Langevin(energy, step_size=1e-30)
        run = quiet(sampler.run, x, 70, rng=KEY)
        assert not run.info.diverged.any()
        assert not quiet(sampler.advance_, sampler.init(x, rng=KEY), 70).diverged.any()


def test_chains_of_no_steps_or_no_elements_are_told_of_too():
    sampler = eff.Langevin(score=torch.neg, step_size=0.1)
    nan = torch.full((2, 3), math.nan)
    assert quiet(sampler.advance_, sampler.init(nan), 0).diverged is None
    assert quiet(sampler.run, nan, 0).info.diverged is None
    for shape in ((0, 3), (3, 0)):
        state = sampler.init(torch.zeros(shape))
        assert quiet(sampler.advance_, state, 2).diverged.tolist() == [False] * shape[0]
    line = sampler.init(torch.tensor([1.0, math.nan]))  # an event without axes
    assert warned(sampler.advance_, line)[0].diverged.tolist() == [False, True]


@pytest.mark.parametrize("where", [lambda x: x, elsewhere])
def test_the_values_are_asked_for_once_in_a_call(monkeypatch, where):
    asked = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        method = getattr(torch.Tensor, name)

        def count(*arguments, method=method, name=name):
            asked.append(name)
            return method(*arguments)

        monkeypatch.setattr(torch.Tensor, name, count)
    options = [{}, {"on_divergence": "raise"}]
    if where is elsewhere:
        options += [{"on_divergence": "restart"}, {"step_size": lambda step: where(torch.ones(()))}]
    for option in options:
        sampler = eff.Langevin(lambda x: x.square().sum(1), **{"step_size": 0.1, **option})
        state = sampler.init(where(torch.zeros(3, 2)), rng=KEY)
        counts = []
        for n_steps in (1, 50):
            asked.clear()
            sampler.advance_(state, n_steps)
            counts.append(len(asked))
        assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("call", ["sample", "run", "advance_"])
def test_raise_names_step_chains_and_remedies(call):
    x0 = torch.tensor([[8.0], [100.0], [8.5]])
    energy = falling(-0.75, math.nan).energy
    sampler = eff.Langevin(energy, step_size=2.0, temperature=0.0, on_divergence="raise")
    start = sampler.init(x0, rng=KEY) if call == "advance_" else x0
    with pytest.raises(eff.NonFiniteError, match=r"^1 of 3 chains diverged at step 9") as caught:
        getattr(sampler, call)(start, 90)
    assert "the energy of chain 0 is nan" in str(caught.value)
    assert "smaller step_size" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert quiet(sampler.sample, x0, 8).shape == (3, 1)
    with pytest.raises(eff.NonFiniteError, match="after step 8"):  # by the look ahead
        sampler.sample(x0, 9)
    far = torch.tensor([[80.0]])
    with pytest.raises(eff.NonFiniteError, match="1 of 1 chains diverged at step 81"):
        sampler.sample(far, 90)


def test_raise_of_another_device_comes_at_the_end_of_the_call():
    energy = falling(-0.75, math.nan).energy
    sampler = eff.Langevin(energy, step_size=2.0, temperature=0.0, on_divergence="raise")
    state = sampler.init(elsewhere(torch.tensor([[8.0], [100.0]])), rng=KEY)
    with pytest.raises(eff.NonFiniteError, match="1 of 2 chains diverged in steps 0 to 89: "):
        sampler.advance_(state, 90)
    assert state.step == 90


def restarted_by_hand(energy, x0, step_size, n_steps, compressor, residual):
    x, r = x0.clone(), residual.clone()
    restarts = torch.zeros(len(x0), dtype=torch.int64)
    for step in range(n_steps + 1):
        leaf = x.clone().requires_grad_()
        values = energy(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        bad = ~values.isfinite()
        if step < n_steps:
            eff.langevin_step_(
                x, gradient, step_size, compressor=compressor, residual=r, rng=KEY.at(step)
            )
        x[bad], r[bad] = x0[bad], 0.0
        restarts += bad
    return x, r, restarts


@pytest.mark.parametrize("where", [lambda x: x, elsewhere])
def test_restart_puts_chains_back_to_where_they_began(where):
    x0 = normal(300, 5).abs() + 0.1
    options = {"step_size": 0.1, "compressor": eff.TopK(2), "error_feedback": True}
    wanted = restarted_by_hand(gamma, x0, 0.1, 30, eff.TopK(2), torch.zeros_like(x0))
    again = eff.Langevin(gamma, on_divergence="restart", **options)
    state = again.init(where(x0), rng=KEY)
    info, text = warned(again.advance_, state, 30)
    assert_same_bits(state.x.as_subclass(torch.Tensor), wanted[0])
    assert_same_bits(state.residual.as_subclass(torch.Tensor), wanted[1])
    assert torch.equal(info.diverged.as_subclass(torch.Tensor), wanted[2] > 0)
    assert 20 < int(info.diverged.sum()) < 280
    assert int(wanted[2].max()) > 1
    assert f"{int(info.diverged.sum())} of 300 chains diverged" in text
    assert gamma(state.x).isfinite().all()
    assert_same_bits(quiet(again.sample, x0, 30, rng=KEY), again.samples(state))
    # the other chains do not notice
    kept = eff.Langevin(gamma, **options).init(x0, rng=KEY)
    warned(eff.Langevin(gamma, **options).advance_, kept, 30)
    others = wanted[2] == 0
    assert_same_bits(kept.x[others], wanted[0][others])
    assert_same_bits(kept.residual[others], wanted[1][others])


def test_no_call_with_restart_ends_out_of_the_support():
    sampler = eff.Langevin(gamma, step_size=0.2, on_divergence="restart")
    state = sampler.init(START, rng=KEY)
    states, finite = chains_by_hand(gamma, START, 0.2, 1)
    info, text = warned(sampler.advance_, state)
    assert torch.equal(info.diverged, ~finite[1])
    assert_same_bits(state.x, torch.where(finite[1][:, None], states[1], START))
    assert f"{int(info.diverged.sum())} of 1000 chains diverged after step 0" in text
    for _ in range(50):
        assert quiet(sampler.advance_, state).diverged.any()
        assert gamma(state.x).isfinite().all()
    assert gamma(sampler.run(START, 50, rng=KEY).x).isfinite().all()


def test_labels_stay_with_a_chain_that_restarts():
    def energy(x, y):
        return torch.where(y == 1, math.nan, 1.0) * x.sum(1)

    y = torch.tensor([0, 1, 0])
    sampler = eff.Langevin(energy, step_size=0.1, on_divergence="restart")
    state = sampler.init(torch.ones(3, 2), rng=KEY, energy_kwargs={"y": y})
    warned(sampler.advance_, state, 3)
    assert torch.equal(state.energy_kwargs["y"], y)
    assert (state.x[1] == 1).all()  # where even the start is out of the support
    assert (state.x[[0, 2]] != 1).all()


def test_starts_go_with_their_chains():
    sampler = eff.Langevin(gamma, step_size=0.1, on_divergence="restart")
    state = sampler.init(START[:6], rng=KEY)
    copied = state.clone()
    sampler.advance_(state, 2)
    rows = torch.tensor([4, 1])
    part = state.take(rows)
    assert torch.equal(part.start, START[rows])
    part.start += 1
    assert torch.equal(state.start, START[:6])
    state.put_(rows, part)
    assert torch.equal(state.start[rows], START[rows] + 1)
    assert torch.equal(copied.start, START[:6])
    assert eff.Langevin(gamma, step_size=0.1).init(START).start is None


def test_misuse_of_on_divergence():
    with pytest.raises(ValueError, match=r"on_divergence: expected keep, raise, .* got 'stop'"):
        eff.Langevin(gamma, step_size=0.1, on_divergence="stop")
    again = eff.Langevin(gamma, step_size=0.1, compressor=eff.TopK(1), on_divergence="restart")
    with pytest.raises(ValueError, match="trajectory: expected 'dense' with on_divergence='restar"):
        again.run(START, 2, trajectory="packed")
    with pytest.raises(ValueError, match="state: expected a start"):
        again.step(eff.Langevin(gamma, step_size=0.1).init(START))


def test_samplers_that_have_warned_can_be_copied_and_pickled():
    sampler = eff.Langevin(root, step_size=0.1, on_divergence="restart")
    warned(sampler.sample, torch.zeros(2, 1), 1, rng=KEY)
    for again in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        quiet(again.sample, torch.zeros(2, 1), 1, rng=KEY)


def test_a_chain_of_mala_that_starts_out_of_the_support_is_told_of():
    sampler = eff.MALA(gamma, step_size=0.1)
    x0 = START[:9].clone()
    x0[4], x0[7] = -1.0, 0.0
    state = sampler.init(x0, rng=KEY)
    info, text = warned(sampler.advance_, state, 5)
    assert info.diverged.tolist() == [i in (4, 7) for i in range(9)]
    assert "2 of 9 chains diverged before step 5: the energy of chain 4 is nan" in text
    quiet(sampler.advance_, state, 5)
    good = eff.MALA(gamma, step_size=1.0)  # proposals out of the support are no matter
    assert not quiet(good.advance_, good.init(START, rng=KEY), 20).diverged.any()
    flat = eff.MALA(root, step_size=0.1, compressor=eff.BlockSign(1))  # a drift that is not finite
    info, text = warned(flat.advance_, flat.init(torch.zeros(1, 1), rng=KEY))
    assert info.diverged.tolist() == [True]
    assert "the drift of chain 0 is" in text
    strict = eff.MALA(gamma, step_size=0.1, on_divergence="raise")
    with pytest.raises(eff.NonFiniteError, match="2 of 9 chains diverged before step 5"):
        strict.sample(x0, 5, rng=KEY)
    with pytest.raises(ValueError, match=r"on_divergence: expected keep or raise, .*'restart'"):
        eff.MALA(gamma, step_size=0.1, on_divergence="restart")
