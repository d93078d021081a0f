"""Chains whose steps are CUDA graphs: they have the bits of chains that are not captured.

Without a GPU the calls of torch's functions are recorded and repeated (recorded_graphs.py). On the
CPU there is nothing to capture."""

import contextlib
import copy
import functools
import math
import pickle
import warnings

import pytest
import recorded_graphs
import stand_in
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.energies import NonFiniteError, score_of
from effebm_ext.networks import MLPEnergy
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import ACCEPTANCE, DeviceKey
from effebm_ext.samplers import StepInfo, captured
from effebm_ext.samplers.program_key import program_key

KEY = eff.Key(2**63 + 5, offset=7, first_chain=11)
EF = {"compressor": eff.BlockSign(2), "error_feedback": True}
CALLS = (1, 22, 3)  # 22 steps are 16, 4 and twice 1


@pytest.fixture(autouse=True)
def captures(device, monkeypatch):
    """The functions that were captured."""
    made = []
    kind = recorded_graphs.Graphs if device == stand_in.DEVICE else captured.Graphs

    class Counted(kind):
        def record(self, function):
            made.append(function)
            return super().record(function)

    monkeypatch.setattr(captured, "Graphs", Counted)
    return made


def network(device, n_classes=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLPEnergy((4,), width=8, depth=2, n_classes=n_classes).to(device)


def quadratic(x, centre=0.0):
    return (x - centre).square().flatten(1).sum(1) / 2


def pair(energy=quadratic, **options):
    """A sampler that is not captured, and one that is."""
    options = {"step_size": 0.1, **options}
    return [eff.Langevin(energy, cuda_graph=c, **options) for c in (False, True)]


def assert_taken(sampler, device):
    assert sampler.captured.taken == ("uncaptured" if device.type == "cpu" else "captured")


def assert_same_info(got, want):
    for name, a, b in zip(want._fields, got, want, strict=True):
        assert (a is None) == (b is None), name
        if b is not None:
            assert_same_bits(*(t.float() if t.dtype == torch.bool else t for t in (a, b)))


def assert_same_state(got, want):
    assert (got.step, got.key) == (want.step, want.key)
    assert_same_bits(got.x, want.x)
    assert (got.residual is None) == (want.residual is None)
    if want.residual is not None:
        assert_same_bits(got.residual, want.residual)


def assert_same_chains(samplers, x0, calls=CALLS, **options):
    """Moves the chains of both samplers by the calls, and compares all that there is."""
    states = [s.init(x0, rng=KEY, **options) for s in samplers]
    for n_steps in calls:
        infos = [s.advance_(state, n_steps) for s, state in zip(samplers, states, strict=True)]
        assert_same_info(infos[1], infos[0])
        assert_same_state(states[1], states[0])
    assert_taken(samplers[1], x0.device)


def harmonic(step):
    return 0.1 / (step + 1)


OPTIONS = {
    "plain": {},
    "feedback": EF,
    "random": {"compressor": eff.RandomK(2), "error_feedback": False},
    "statistics": {"statistics": True, "clip": eff.ClipNorm(0.5), "temperature": 0.3},
    "no noise": {"temperature": 0.0, "bounds": (-1, 1)},
    "function": {"compressor": torch.tanh, "error_feedback": True},
    "schedule": {"step_size": harmonic},
    "schedule, temperature": {"step_size": harmonic, "temperature": 0.3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_captured_chains_have_the_same_bits(device, options, dtype):
    x0 = normal(5, 4, dtype=dtype, device=device)
    assert_same_chains(pair(**options), x0)


def test_networks_and_labels(device):
    kwargs = {"y": torch.tensor([0, 2, 1, 0, 2], device=device)}
    samplers = pair(network(device, 3), **EF)
    assert_same_chains(samplers, normal(5, 4, device=device), energy_kwargs=kwargs)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_sizes_that_are_tensors(device, temperature, dtype):
    sizes = torch.linspace(0.01, 0.1, 5, dtype=dtype).to(device)
    schedules = [
        lambda step: sizes / (step + 1),
        lambda step: sizes[step % 5] if step % 3 else 0.1,  # one for all chains, or a number
        lambda step: sizes if step % 3 else sizes[0],  # of two shapes
    ]
    for step_size in (sizes, sizes[2], *schedules):
        samplers = pair(step_size=step_size, temperature=temperature)
        assert_same_chains(samplers, normal(5, 4, device=device))


def test_a_schedule_may_write_its_tensor(device):
    def schedule(step):
        return value.fill_(0.1 / (step + 1))

    value = torch.zeros((), device=device)
    assert_same_chains(pair(step_size=schedule), normal(5, 4, device=device))


def test_a_tensor_is_read_where_it_is(device, captures):
    for size in (torch.full((), 0.1, device=device), torch.full((5,), 0.1, device=device)):
        samplers = pair(step_size=size, temperature=0.5)
        states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
        captures.clear()
        for _ in range(3):
            for sampler, state in zip(samplers, states, strict=True):
                sampler.advance_(state, 4)
            assert_same_state(*states)
            size.mul_(0.5)
        assert len(captures) == (device.type == "cuda")


def test_a_score_is_captured(device):
    net = network(device)
    scores = [lambda x: -x, score_of(net)]  # the second one needs autograd
    for score in scores:
        samplers = pair(None, score=score, statistics=True)
        assert_same_chains(samplers, normal(5, 4, device=device))


def test_a_key_on_the_device_goes_on_in_its_stream(device):
    x = torch.zeros(4, 9, device=device)
    moving = DeviceKey(device, first_chain=11)
    for seed in (3, 2**64 - 1):
        key = eff.Key(seed, offset=2**40, first_chain=11)
        moving.put_(key)
        moving.advance_(5)
        for step in (0, 3):
            for compressor in (None, eff.RandomK(3)):
                options = {"compressor": compressor}
                got = eff.langevin_step(x, x + 1, 0.1, rng=moving.at(step), **options)
                want = eff.langevin_step(x, x + 1, 0.1, rng=key.at(5 + step), **options)
                assert_same_bits(got, want)
            got = uniforms(moving.at(step), 4, ACCEPTANCE, like=x)
            assert_same_bits(got, uniforms(key.at(5 + step), 4, ACCEPTANCE, like=x))


def test_graphs_are_captured_once_per_shape(device, captures):
    sampler = pair(network(device))[1]
    for n_chains in (3, 5, 3):
        for n_steps in (5, 85, 9):
            sampler.sample(normal(n_chains, 4, device=device), n_steps, rng=KEY)
    lengths = sorted(function.args[1] for function in captures)
    assert lengths == ([1, 1, 4, 4, 16, 16, 64, 64] if device.type == "cuda" else [])


def test_keys_seeds_and_steps_need_no_other_graph(device, captures):
    one, many = pair()
    x0 = normal(5, 4, device=device)
    for key in (eff.Key(1), eff.Key(2**64 - 1, 2**40), eff.Key(-3, 5)):
        assert_same_bits(many.sample(x0, 8, rng=key), one.sample(x0, 8, rng=key))
    assert len(captures) == (device.type == "cuda")
    key = eff.Key(1, first_chain=3)  # which is a number of Python's
    assert_same_bits(many.sample(x0, 8, rng=key), one.sample(x0, 8, rng=key))


def test_chains_alternate_between_programs(device):
    samplers = pair(**EF)
    starts = [normal(n, 4, device=device) for n in (3, 5)]
    states = [[s.init(x0, rng=KEY) for s in samplers] for x0 in starts]
    for _ in range(3):
        for both in states:
            for sampler, state in zip(samplers, both, strict=True):
                sampler.advance_(state, 5)
            assert_same_state(*both)


def test_the_programs_that_were_used_last_are_kept(device, captures):
    sampler = pair()[1]
    for n_chains in range(1, 13):
        for n in (1, n_chains):
            sampler.sample(normal(n, 2, device=device), 1, rng=KEY)
    n_programs, n_captures = (8, 12) if device.type == "cuda" else (0, 0)
    assert len(sampler.captured._programs) == n_programs
    assert len(captures) == n_captures
    assert_same_chains([pair()[0], sampler], normal(2, 2, device=device))


@pytest.mark.parametrize("thin", [1, 4])
def test_runs_and_samples(device, thin):
    x0 = normal(5, 4, device=device)
    one, many = pair(statistics=True, **EF)
    assert_same_bits(many.sample(x0, 9, rng=KEY), one.sample(x0, 9, rng=KEY))
    want, got = (s.run(x0, 9, thin=thin, rng=KEY) for s in (one, many))
    assert_same_bits(got.trajectory, want.trajectory)
    assert_same_bits(got.x, want.x)
    assert_same_info(got.info, want.info)
    assert_taken(many, device)


def test_packed_trajectories_are_not_captured(device, captures):
    x0 = normal(5, 4, device=device)
    one, many = pair(compressor=eff.BlockSign(2))
    want, got = (s.run(x0, 6, trajectory="packed", rng=KEY) for s in (one, many))
    assert_same_bits(got.x, want.x)
    assert_same_bits(got.trajectory.replay(), want.trajectory.replay())
    assert captures == []


def test_infos_and_states_are_the_callers(device):
    sampler = pair(statistics=True)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    info = sampler.advance_(state, 4)
    before = [t.clone() for t in (state.x, info.energy, info.grad_norm, info.diverged)]
    sampler.advance_(state.clone(), 4)
    for now, was in zip((state.x, info.energy, info.grad_norm, info.diverged), before, strict=True):
        assert_same_bits(now.float(), was.float())


def wall(x):
    """Infinite to the left of 0."""
    return torch.where(x[:, 0] > 0, quadratic(x), math.inf)


def near_the_wall(device):
    x0 = normal(6, 2, device=device)
    x0[:, 0] = torch.linspace(0.05, 2, 6, device=device)
    return x0


def test_chains_that_diverge_restart_in_the_graph(device):
    samplers = pair(wall, on_divergence="restart", step_size=0.2, **EF)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for scale in (1, 2):  # the same graphs send chains back to other starts
            assert_same_chains(samplers, scale * near_the_wall(device), calls=(64, 20, 5))
    texts = [str(w.message) for w in seen]
    assert len(texts) == 2  # one of each sampler
    assert texts[0] == texts[1]
    assert "chains diverged in steps 0 to 63" in texts[0]


@pytest.mark.parametrize("thin", [4, 6])
def test_divergence_is_reported_by_windows(device, thin):
    seen = []
    for sampler in pair(wall, step_size=0.2):
        with pytest.warns(RuntimeWarning, match="chains diverged") as warned:
            info = sampler.run(near_the_wall(device), 30, thin=thin, rng=KEY).info
        seen.append((info.diverged.tolist(), str(warned[0].message)))
        assert 0 < int(info.diverged.sum()) < info.diverged.numel()
    assert seen[1] == seen[0]


def test_divergence_raises_with_its_steps(device):
    seen = []
    for sampler in pair(wall, step_size=0.2, on_divergence="raise"):
        state = sampler.init(near_the_wall(device), rng=KEY)
        with pytest.raises(NonFiniteError, match="chains diverged") as error:
            sampler.advance_(state, 70)
        seen.append(str(error.value))
    assert seen[1] == seen[0]


def test_replay_buffers_restart_chains_between_calls(device):
    energy, buffers = network(device, 3), []
    for sampler in pair(energy, **EF):
        generator = torch.Generator().manual_seed(1)
        restart = Restart(
            0.5,
            lambda n, g=generator: torch.randn(n, 4, generator=g),
            generator,
            lambda n, g=generator: {"y": torch.randint(3, (n,), generator=g)},
        )
        buffers.append(ReplayBuffer(
            sampler, normal(12, 4, device=device), n_chains=5, generator=generator, rng=KEY,
            restart=restart, energy_kwargs={"y": torch.arange(12, device=device) % 3},
        ))  # fmt: skip
    for _ in range(4):
        infos = [buffer.advance(6) for buffer in buffers]
        assert_same_info(*infos)
        assert_same_state(buffers[1].buffer, buffers[0].buffer)
        assert_same_bits(buffers[1].state.energy_kwargs["y"], buffers[0].state.energy_kwargs["y"])
    assert_taken(buffers[1].sampler, device)


def train(energy, chains, data):
    """An iteration of training with an optimiser that writes the parameters in place."""
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.05)
    for _ in range(3):
        chains.advance(5)
        loss = energy(data).mean() - energy(chains.x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_graphs_see_what_an_optimiser_writes(device, captures):
    x0, data, seen = normal(5, 4, device=device), normal(5, 4, seed=1, device=device), []
    for graph in (False, True):
        energy = network(device)
        sampler = eff.Langevin(energy, step_size=0.1, cuda_graph=graph, **EF)
        chains = PersistentChains(sampler, x0, rng=KEY)
        train(energy, chains, data)
        seen.append(chains.state)
    assert_same_state(*seen)
    assert len(captures) == 2 * (device.type == "cuda")  # of 4 steps and of one


def changes(energy):
    """Ways to put other tensors, or another mode, where the graph has looked."""
    other = {name: 2 * value for name, value in energy.state_dict().items()}
    return {
        "data": lambda: [setattr(p, "data", 2 * p.data) for p in energy.parameters()],
        "assign": lambda: energy.load_state_dict(other, assign=True),
        "mode": lambda: energy.train(not energy.training),
    }


class Moded(torch.nn.Module):
    """Has another energy in evaluation than in training."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * (1 if self.training else 3)


class Holder:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)

    def energy(self, x):
        return self.inner(x)


FORMS = {
    "module": lambda module: module,
    "function": lambda module: lambda x: module(x),
    "partial": lambda module: functools.partial(lambda m, x: m(x), module),
    "object": Holder,
    "method": lambda module: Holder(module).energy,
}


@pytest.mark.parametrize("change", ["data", "assign", "mode"])
@pytest.mark.parametrize("form", FORMS)
def test_other_parameters_and_modes_are_noticed(device, change, form):
    module = Moded(network(device))
    samplers = pair(FORMS[form](module))
    states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
    for _ in range(3):
        for sampler, state in zip(samplers, states, strict=True):
            sampler.advance_(state, 4)
        assert_same_state(*states)
        changes(module)[change]()


def test_options_that_change_are_noticed(device):
    samplers = pair(step_size=0.1, **EF)
    states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
    changed = [
        {"step_size": 0.05},
        {"temperature": 0.5},
        {"temperature": 0.25},
        {"clip": eff.ClipValue(0.2)},
        {"statistics": True},
        {"step_size": harmonic},
        {"bounds": eff.Clamp(-0.5, 0.5)},
        {"step_size": torch.full((), 0.2, device=device)},
        {"step_size": torch.full((), 0.4, device=device)},
        {"temperature": 0.75},
    ]
    for options in changed:
        for sampler in samplers:
            vars(sampler).update(options)
        infos = [s.advance_(state, 6) for s, state in zip(samplers, states, strict=True)]
        assert_same_info(*infos)
        assert_same_state(*states)


def test_autocast_and_the_layout_of_chains_are_noticed(device):
    sampler = pair(network(device))[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    keys = [program_key(sampler, state)]
    for name, value in (("is_autocast_enabled", True), ("get_autocast_dtype", torch.float64)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, name, lambda place, value=value: value)
            keys.append(program_key(sampler, state))
    state.x = state.x.t().contiguous().t()
    keys.append(program_key(sampler, state))
    assert len(set(keys)) == 4


def test_arguments_of_the_energy_that_change_are_noticed(device):
    samplers = pair(lambda x, centre, scale, power: quadratic(x, centre) * scale * power)
    kwargs = {"centre": torch.zeros(5, 1, device=device), "scale": 1.0, "power": torch.ones(())}
    states = [s.init(normal(5, 4, device=device), rng=KEY, energy_kwargs=kwargs) for s in samplers]
    for i in range(6):
        kwargs["power"].fill_(1 + i // 3)  # a tensor of the host, which chains share
        for sampler, state in zip(samplers, states, strict=True):
            state.energy_kwargs["centre"][i % 5] = i
            state.energy_kwargs["scale"] = 1.0 + i // 2
            sampler.advance_(state, 4)
        assert_same_state(*states)


class Counting(torch.nn.Module):
    """Notes every call in a buffer, on which the energy depends."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return quadratic(x) * self.calls


def test_warming_up_leaves_the_buffers_of_a_module(device):
    x0, seen = normal(5, 4, device=device), []
    for graph in (False, True):
        energy = Counting().to(device)
        sampler = eff.Langevin(energy, step_size=0.01, cuda_graph=graph)
        seen.append(sampler.sample(x0, 6, rng=KEY))
        assert float(energy.calls) == 7  # sample() looks where the last step went
    assert_same_bits(*seen)


@pytest.mark.parametrize("options", [{}, {"compressor": torch.tanh}], ids=["none", "tanh"])
def test_the_callers_modes_hold(device, options):
    x0, energy = normal(5, 4, device=device), network(device)
    want = pair(energy, **options)[0].sample(x0, 5, rng=KEY)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        sampler = pair(energy, **options)[1]
        with mode():
            got = sampler.sample(x0, 5, rng=KEY)
        assert_same_bits(got.clone(), want)
        assert_same_bits(sampler.sample(x0, 5, rng=KEY), want)
        state = sampler.init(x0, rng=KEY)
        for step in range(5):  # a state of one mode, moved in another
            with mode() if step % 2 else contextlib.nullcontext():
                sampler.advance_(state)
        assert_same_bits(state.x, want)


def test_autograd_learns_that_the_state_was_written(device):
    sampler = pair()[1]
    state = sampler.init(torch.ones(4, 2, device=device), rng=KEY)
    weight = torch.ones((), device=device, requires_grad=True)
    loss = (weight * state.x).sum()
    sampler.advance_(state, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def waiting(x):
    return quadratic(x) * (1 if float(x.detach().sum()) > 0 else 2)


def copying(x):
    return quadratic(x) + torch.tensor([1.0, 2.0]).to(x.device).sum()


@pytest.mark.parametrize("energy", [waiting, copying])
def test_an_energy_that_waits_is_not_captured(device, energy):
    one, many = pair(energy, **EF)
    x0 = normal(5, 4, device=device)
    states = [s.init(x0, rng=KEY) for s in (one, many)]
    one.advance_(states[0], 22)
    if device.type == "cpu":
        many.advance_(states[1], 22)
    else:
        line = "cuda_graph: the steps are made without, as they were not captured: ."
        with pytest.warns(RuntimeWarning, match=line) as seen:
            many.advance_(states[1], 22)
        assert [w.filename for w in seen] == [__file__]
    assert_same_state(*states)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many.advance_(states[1], 3)
    one.advance_(states[0], 3)
    assert_same_state(*states)
    assert many.captured.taken == "uncaptured"


def test_the_errors_of_an_energy_are_its_own(device):
    sampler = pair(lambda x: x)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    before = state.clone()
    with pytest.raises(ValueError, match="energy: expected one value per chain"):
        sampler.advance_(state, 4)
    assert_same_state(state, before)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, 1e39, "0.1"])
def test_a_schedule_that_is_not_positive_raises(device, bad):
    sampler = pair(step_size=lambda step: 0.1 if step < 9 else bad)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    with pytest.raises((TypeError, ValueError), match="step_size: expected"):
        sampler.advance_(state, 22)


def test_a_stream_that_ends_raises(device):
    for sampler in pair():
        state = sampler.init(normal(5, 4, device=device), rng=eff.Key(1, 2**56 - 3))
        with pytest.raises(ValueError, match="offset: expected"):
            sampler.advance_(state, 4)  # in one replay


def test_copies_capture_their_own_graphs(device, captures):
    sampler = pair(network(device), **EF)[1]
    x0 = normal(5, 4, device=device)
    want = sampler.sample(x0, 5, rng=KEY)
    n = len(captures)
    makers = [copy.deepcopy]
    if device.type == "cpu":  # pickle makes no tensors on the stand-in
        makers.append(lambda s: pickle.loads(pickle.dumps(s)))
    for make in makers:
        same = make(sampler)
        assert same.captured is not sampler.captured
        assert same.captured._programs == {}
        assert_same_bits(same.sample(x0, 5, rng=KEY), want)
    assert len(captures) == 2 * n
    assert "cuda_graph=True" in repr(sampler)


def test_a_copy_with_another_schedule_has_its_own_steps(device):
    sampler = pair()[1]
    other = copy.copy(sampler)
    other.step_size = harmonic
    x0 = normal(5, 4, device=device)
    for _ in range(2):
        for one, size in ((sampler, 0.1), (other, harmonic)):
            want = eff.Langevin(quadratic, step_size=size).sample(x0, 5, rng=KEY)
            assert_same_bits(one.sample(x0, 5, rng=KEY), want)


def test_no_step_is_no_step(device):
    for sampler in pair():
        state = sampler.init(normal(5, 4, device=device), rng=KEY)
        assert sampler.advance_(state, 0) == StepInfo(None)
        assert state.step == 0


def test_other_values_are_refused(device):
    assert_same_chains(pair(), normal(2, 2, device=device))
    with pytest.raises(TypeError, match="cuda_graph: expected True or False, got 1"):
        eff.Langevin(quadratic, step_size=0.1, cuda_graph=1)
