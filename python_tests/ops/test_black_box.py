"""Any function as a compressor: the bits of a known one, and what a bad one does."""

import functools
import itertools

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, assert_same_bits, normal, on
from hypothesis import given, settings
from step_cases import cases

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype

KEY = eff.Key(17, offset=2**33 + 5, first_chain=3)


def top3(u):
    return eff.TopK(3).compress(u)


def writing_signs(u):
    """Writes what it is given."""
    u.copy_(eff.BlockSign(4).compress(u))
    return u


PAIRS = [
    (eff.TopK(3), top3),
    (eff.BlockSign(4), writing_signs),
    (eff.BlockSign(block_offsets=[0, 1, 10]), eff.BlockSign(block_offsets=[0, 1, 10]).compress),
]
CLIPS = [None, eff.ClipValue(0.5), eff.ClipNorm(1.5)]
# 0.7 is no number of 16 bits, 1e30 is beyond float16.
BOUNDS = [None, (-1.0, 0.7), eff.Reflect(-0.3, 0.7), (-INF, 1e30)]
SCALES = [(torch.tensor([0.0, 0.1, 1.5]), torch.tensor([0.0, 0.5, 2.0]))]


def check_equal(known, function, x, grad, step_size, residual, **options):
    """The function gives the bits of the compressor it is equal to, wherever it can be given."""
    results = []
    for compressor in (known, function):
        named = {"compressor": compressor, "rng": KEY, **options}
        memories = [None if residual is None else residual.clone() for _ in range(2)]
        statistics = x.new_full((len(x), 2), NAN, dtype=compute_dtype(x.dtype))
        state = x.clone()
        gradient = state if grad is x else grad
        assert eff.langevin_step_(state, gradient, step_size, residual=memories[0],
                                  statistics=statistics, **named) is state  # fmt: skip
        transition = eff.langevin_transition(x, grad, step_size, residual=memories[1], **named)
        kept = [] if residual is None else memories
        new = [] if residual is not None else [eff.langevin_step(x, grad, step_size, **named)]
        drift = eff.drift(grad, compressor=compressor, clip=options.get("clip"), rng=KEY)
        results.append([state, statistics, *kept, *new, *transition, *drift])
    for got, want in zip(results[1], results[0], strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("known", "function"), PAIRS)
def test_a_function_gives_the_bits_of_the_compressor_it_is(device, dtype, known, function):
    x, grad = (normal(3, 2, 5, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    memory = normal(3, 2, 5, seed=2, dtype=compute_dtype(dtype), device=device)
    every = itertools.product(on(device, SCALES), CLIPS, BOUNDS, [None, memory])
    for (step_size, noise_std), clip, bounds, residual in every:
        options = {"noise_std": noise_std, "clip": clip, "bounds": bounds}
        check_equal(known, function, x, grad, step_size, residual, **options)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_every_shape_and_layout_gives_the_same_bits(device, case):
    x, grad, step_size, residual, compressor, options = on(device, case)
    # A function says what the drift is, and not which entries move.
    if compressor is not None and not compressor.moves_kept:
        function = functools.partial(compressor.compress, rng=KEY)
        check_equal(compressor, function, x, grad, step_size, residual, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
def test_it_is_given_the_compute_dtype_and_a_tensor_of_its_own(device, dtype, residual):
    seen = []

    def watch(u):
        seen.append(u)
        return torch.zeros_like(u)

    x, grad = (normal(3, 2, 5, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    memory = torch.ones_like(x, dtype=compute_dtype(dtype)) if residual else None
    before = grad.clone()
    eff.langevin_step_(x, grad, 0.1, compressor=watch, residual=memory, rng=KEY)
    (u,) = seen
    want = grad.to(compute_dtype(dtype)) + (1 if residual else 0)
    assert_same_bits(u, want)
    assert_same_bits(grad, before)
    if residual:
        assert_same_bits(memory, want)
    for t in (x, grad, memory):
        assert t is None or t.data_ptr() != u.data_ptr()


def raises(u):
    raise ZeroDivisionError("of its own")


MISBEHAVED = [
    (lambda u: None, TypeError, "what compressor returned: expected a tensor, got NoneType"),
    (lambda u: u[:2], ValueError, r"what compressor returned: expected the shape .* got \(2, 4\)"),
    (lambda u: u.double(), TypeError, r"what compressor returned: .* got torch\.float64"),
    (lambda u: u.bfloat16(), TypeError, r"what compressor returned: .* got torch\.bfloat16"),
    (lambda u: u.to("meta"), ValueError, "what compressor returned: .* got one on meta"),
    (raises, ZeroDivisionError, "of its own"),
    (eff.TopK(5).compress, ValueError, "k: expected 0 <= k <= 4"),
    (eff.TopK, TypeError, "k: expected an int"),
]


@pytest.mark.parametrize(("function", "error", "message"), MISBEHAVED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_one_that_misbehaves_changes_nothing(device, function, error, message, dtype):
    x, grad = (normal(3, 4, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    written = [x, torch.ones(3, 4, device=device), torch.ones(3, 2, device=device)]
    before = [t.clone() for t in written]
    options = {"compressor": function, "rng": KEY}
    with pytest.raises(error, match=message):
        eff.langevin_step_(
            x,
            grad,
            0.1,
            residual=written[1],
            statistics=written[2],
            clip=eff.ClipNorm(1),
            **options,
        )
    with pytest.raises(error, match=message):
        eff.langevin_step(x, grad, 0.1, **options)
    with pytest.raises(error, match=message):
        eff.langevin_transition(x, grad, 0.1, residual=written[1], **options)
    with pytest.raises(error, match=message):
        eff.drift(grad, compressor=function)
    for after, was in zip(written, before, strict=True):
        assert_same_bits(after, was)


@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.tanh])
@pytest.mark.parametrize(
    "changes",
    [{"step_size": -1.0}, {"noise_std": "1"}, {"bounds": (1, 0)}, {"rng": 5},
     {"bounds": 3.0}, {"grad": torch.zeros(3)}, {"clip": 2.0}, {"statistics": torch.zeros(3)},
     {"residual": torch.zeros(3, 4).double()}],
)  # fmt: skip
def test_a_bad_argument_changes_nothing(device, changes, compressor):
    x, changes = normal(3, 4, device=device), on(device, changes)
    grad, residual, statistics = (torch.ones(3, n, device=device) for n in (4, 4, 2))
    arguments = {"x": x, "grad": grad, "step_size": 0.1, "compressor": compressor,
                 "residual": residual, "statistics": statistics, **changes}  # fmt: skip
    with pytest.raises((TypeError, ValueError), match=next(iter(changes))):
        eff.langevin_step_(**arguments)
    assert_same_bits(x, normal(3, 4))
    assert residual.eq(1).all()
    assert statistics.eq(1).all()


@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.tanh])
def test_tensors_that_share_memory_are_refused(device, compressor):
    memory = normal(10, 4, device=device)
    before = memory.clone()
    x, grad, apart, shifted = memory[:3], memory[4:7], memory[7:], memory[2:5]
    sums = memory.view(-1)[:6].view(3, 2), memory.view(-1)[36:].new_empty(3, 2)
    clashes = [(x, grad, x, None), (x, grad, shifted, None), (x, shifted, apart, None),
               (x, x, x, None), (x, grad, grad, None), (x, grad, apart, sums[0])]  # fmt: skip
    for state, gradient, residual, statistics in clashes:
        with pytest.raises(RuntimeError, match="expected tensors that do not overlap in memory"):
            eff.langevin_step_(state, gradient, 0.1, compressor=compressor, residual=residual,
                               statistics=statistics)  # fmt: skip
    assert_same_bits(memory, before)
    eff.langevin_step_(x, x, 0.1, compressor=compressor, residual=apart, statistics=sums[1])
    assert not torch.equal(memory, before)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_what_it_returns_may_have_any_layout(device, layout):
    x, grad, residual = (normal(3, 4, seed=seed, device=device) for seed in range(3))
    options = {"rng": KEY, "bounds": (-1, 1)}
    want = eff.langevin_transition(x, grad, 0.1, compressor=torch.tanh, **options)
    got = eff.langevin_transition(
        x, grad, 0.1, compressor=lambda u: LAYOUTS[layout](u.tanh()), **options
    )
    for one, other in zip(got, want, strict=True):
        assert_same_bits(one, other)
    memories = [residual.clone(), LAYOUTS[layout](residual)]
    states = [x.clone(), LAYOUTS[layout](x)]
    for state, memory in zip(states, memories, strict=True):
        eff.langevin_step_(state, grad, 0.1, compressor=torch.tanh, residual=memory, **options)
    assert_same_bits(*states)
    assert_same_bits(*memories)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_sampler_with_a_function_is_the_sampler_with_its_compressor(device, dtype):
    def energy(x):
        return (x**4 / 4 - x).flatten(1).sum(1)

    samples = [
        eff.Langevin(
            energy, step_size=0.05, compressor=compressor, error_feedback=True, clip=eff.ClipNorm(2)
        ).sample(normal(6, 2, 5, dtype=dtype, device=device), 20, rng=KEY)
        for compressor in (eff.TopK(3), top3)
    ]
    assert_same_bits(*samples)


def test_parameters_of_a_function_leave_no_graph_on_the_chain(device):
    module = torch.nn.Linear(4, 4, device=device)
    x, residual = (torch.zeros(3, 4, device=device) for _ in range(2))
    grad = torch.ones(3, 4, device=device)
    for _ in range(2):
        eff.langevin_step_(x, grad, 0.1, compressor=module, residual=residual)
        t = eff.langevin_transition(x, grad, 0.1, compressor=module, residual=residual)
    written = [x, residual, *t, *eff.drift(grad, compressor=module)]
    assert not any(v.requires_grad for v in written)
    eff.langevin_step(
        x, grad, 0.1, compressor=module
    ).sum().backward()  # this one is differentiable
    assert module.weight.grad.abs().sum() > 0


def test_a_step_with_a_function_draws_one_key(device):
    generators = [torch.Generator(device).manual_seed(3) for _ in range(2)]
    x, grad = torch.zeros(2, 5, device=device), torch.ones(2, 5, device=device)
    for generator, compressor in zip(generators, (eff.TopK(3), top3), strict=True):
        eff.langevin_step_(x, grad, 0.1, rng=generator, noise_std=1.0, compressor=compressor)
    assert torch.equal(*(g.get_state() for g in generators))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_steps_with_a_function_have_the_same_bits(device, dtype):
    def step(x, grad, residual, key):
        options = {"compressor": top3, "clip": eff.ClipNorm(1.0), "bounds": (-1, 0.7), "rng": key}
        eff.langevin_step_(x, grad, 0.1, residual=residual, **options)
        return eff.langevin_step(x, grad, 0.1, **options)

    torch._dynamo.reset()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    eager, traced = (
        [
            normal(3, 9, seed=seed, dtype=kind, device=device)
            for seed, kind in enumerate([dtype, dtype, torch.float32])
        ]
        for _ in range(2)
    )
    for i in range(3):
        assert_same_bits(compiled(*traced, KEY.at(i)), step(*eager, KEY.at(i)))
        for one, other in zip(traced, eager, strict=True):
            assert_same_bits(one, other)
