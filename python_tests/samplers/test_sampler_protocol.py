"""What every sampler offers: chains, buffers, restarts and training take any of them."""

import dataclasses

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.objectives import Contrastive
from effebm_ext.samplers import LangevinState, Sampler, StepInfo
from effebm_ext.samplers.initial import initial_state
from effebm_ext.training import Trainer

KEY, START = eff.Key(4), normal(6, 3)


@dataclasses.dataclass
class MovingState(LangevinState):
    velocity: torch.Tensor = dataclasses.field(kw_only=True)


class Underdamped(Sampler[MovingState]):
    """x' = v, v' = -grad E - v + noise, by steps of the size h: a sampler of a user's own."""

    def __init__(self, energy, *, step_size):
        self.energy, self.step_size = energy, step_size

    def init(self, x0, *, rng=None, energy_kwargs=None):
        state = initial_state(x0, rng, energy_kwargs)
        return MovingState(**vars(state), velocity=torch.zeros_like(x0))

    def advance_(self, state, n_steps=1):
        info, h = StepInfo(None), self.step_size
        for _ in range(n_steps):
            x = state.x.detach().requires_grad_()
            energy = self.energy(x, **state.energy_kwargs)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
            drift = h * (gradient + state.velocity)
            eff.langevin_step_(
                state.velocity, drift, 2.0, noise_std=(2 * h) ** 0.5, rng=state.key.at(state.step)
            )
            state.x = state.x + h * state.velocity
            state.step += 1
            info = StepInfo(energy.detach())
        return info


def well(x, y=None):
    centre = 0 if y is None else y[:, None]
    return (x - centre).square().sum(1) / 2


SAMPLERS = {
    "Langevin": eff.Langevin(
        well, step_size=0.1, compressor=eff.TopK(1), error_feedback=True, on_divergence="restart"
    ),
    "MALA": eff.MALA(well, step_size=0.3),
    "MALA, packed": eff.MALA(well, step_size=0.3, compressor=eff.TopK(2)),
    "of one's own": Underdamped(well, step_size=0.1),
}


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS)
def sampler(request):
    return request.param


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_zero_steps_leave_the_chains_where_they_are(sampler):
    assert_same_bits(sampler.sample(START, 0, rng=KEY), START)
    state = sampler.init(START, rng=KEY)
    assert all(field is None for field in sampler.advance_(state, 0))
    assert_same_bits(state.x, START)
    assert state.step == 0


def test_steps_runs_and_samples_agree(sampler):
    run = sampler.run(START, 5, thin=2, rng=KEY)
    state, seen = sampler.init(START, rng=KEY), []
    for _ in range(5):
        state, info = sampler.step(state)
        seen.append((sampler.samples(state), info.energy))
    assert_same_bits(run.x, seen[-1][0])
    assert_same_bits(sampler.sample(START, 5, rng=KEY), seen[-1][0])
    assert_same_bits(run.trajectory, torch.stack([seen[1][0], seen[3][0]]))
    assert_same_bits(run.info.energy, torch.stack([seen[1][1], seen[3][1]]))
    assert sampler.run(START, 0, rng=KEY).trajectory.shape == (0, 6, 3)


@pytest.mark.parametrize("steps", [-1, 1.5])
def test_no_sampler_takes_a_wrong_number_of_steps(steps):
    for sampler in (SAMPLERS["Langevin"], SAMPLERS["MALA"]):
        with pytest.raises((TypeError, ValueError), match="n_steps: expected"):
            sampler.sample(START, steps)
        with pytest.raises(ValueError, match="thin: expected 1 <= thin <= 3, got 4"):
            sampler.run(START, 3, thin=4)


def test_states_are_taken_and_put_with_all_that_is_theirs(sampler):
    labels = torch.arange(6.0)
    state = sampler.init(START, rng=KEY, energy_kwargs={"y": labels})
    sampler.advance_(state, 3)
    rows = torch.tensor([4, 1])
    some = state.take(rows)
    for name, value in vars(some).items():
        if isinstance(value, torch.Tensor):
            assert_same_bits(value, getattr(state, name)[rows])
    assert_same_bits(some.energy_kwargs["y"], labels[rows])
    before = state.clone()
    sampler.advance_(some, 1)
    state.put_(rows, some)
    assert_same_bits(state.take(rows).x, some.x)
    rest = torch.tensor([0, 2, 3, 5])
    assert_same_bits(state.take(rest).x, before.take(rest).x)
    again = sampler.init(START, rng=KEY, energy_kwargs={"y": labels})
    assert_same_bits(moved(sampler, before), moved(sampler, before.clone()))
    assert state.step == again.step + 4


def moved(sampler, state):
    state = state.clone()
    sampler.advance_(state, 2)
    return state.x


def test_a_saved_state_goes_on_to_the_bit(sampler):
    state = sampler.init(START, rng=KEY, energy_kwargs={"y": torch.ones(6)})
    sampler.advance_(state, 3)
    saved = state.state_dict()
    other = sampler.init(normal(6, 3) + 7, rng=eff.Key(9), energy_kwargs={"y": torch.zeros(6)})
    loaded = other.loaded(saved)
    assert_same_bits(moved(sampler, loaded), moved(sampler, state))
    with pytest.raises(ValueError, match=r"chains: expected shape \(5, 3\), got \(6, 3\)"):
        other.take(torch.arange(5)).loaded(saved)
    with pytest.raises(ValueError, match="energy_kwargs of the shapes"):
        sampler.init(START).loaded(saved)


@pytest.mark.parametrize("kind", [PersistentChains, ReplayBuffer])
def test_chains_of_any_sampler_follow_an_energy_that_changes(sampler, kind):
    shift = torch.zeros(())
    moving = of_energy(sampler, lambda x: well(x - shift))
    options = {} if kind is PersistentChains else {"n_chains": 6, "generator": generator()}
    chains = kind(moving, START, rng=KEY, **options)
    chains.advance(2)
    shift.fill_(5.0)
    state = chains.state.clone()
    if kind is ReplayBuffer:  # the second draw of the buffer's generator
        draws = generator()
        order = [torch.randperm(6, generator=draws) for _ in range(2)][1]
        state = chains.buffer.take(order)
    fresh = moving.init(state.x, rng=KEY)
    for name in ("residual", "velocity", "start"):
        if getattr(state, name, None) is not None:
            setattr(fresh, name, getattr(state, name).clone())
    fresh.step = state.step
    moving.advance_(fresh, 3)
    chains.advance(3)
    assert_same_bits(chains.x, fresh.x)


def of_energy(sampler, energy):
    options = {"step_size": sampler.step_size}
    for name in ("compressor", "error_feedback"):
        if getattr(sampler, name, None):
            options[name] = getattr(sampler, name)
    return type(sampler)(energy, **options)


def test_restarted_chains_of_any_sampler_have_energies_of_their_own(sampler):
    fresh = torch.full((1, 3), 2.0)
    restart = Restart(1.0, lambda n: fresh.expand(n, 3).clone(), generator())
    chains = PersistentChains(sampler, START, rng=KEY, restart=restart)
    chains.advance(1)
    state = sampler.init(fresh.expand(6, 3).clone(), rng=KEY)
    assert_same_bits(chains.advance(1).energy, well(fresh.expand(6, 3)))
    if hasattr(state, "energy"):
        assert_same_bits(chains.state.energy, well(chains.x))


def test_contrastive_training_takes_any_sampler(sampler):
    energy = Quadratic()
    data = 3 + 0.5 * normal(200, 3)
    chains = PersistentChains(of_energy(sampler, energy), normal(50, 3), rng=KEY)
    objective = Contrastive(energy, chains, langevin_steps=5)
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.05)
    trainer = Trainer(energy, optimizer, objective, data, batch_size=64, generator=generator())
    metrics = [trainer.iteration() for _ in range(150)]
    assert energy.mean.detach() == pytest.approx(3 * torch.ones(3).numpy(), abs=0.35)
    assert ("acceptance" in metrics[0]) == isinstance(sampler, eff.MALA)
    saved = trainer.state_dict()
    after = trainer.iteration()
    trainer.load_state_dict(saved)
    assert trainer.iterations == 150
    assert trainer.iteration().keys() == after.keys()


class Quadratic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return (x - self.mean).square().sum(1) / 2


def test_an_own_sampler_reaches_its_stationary_law():
    sampler = SAMPLERS["of one's own"]
    x = sampler.run(normal(400, 3), 300, thin=10, rng=KEY).trajectory[10:]
    assert float(x.var()) == pytest.approx(1.0, abs=0.1)
    assert float(x.mean()) == pytest.approx(0.0, abs=0.05)
    assert repr(sampler) == "Underdamped(energy=well, step_size=0.1)"
