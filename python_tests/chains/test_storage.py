"""How a replay buffer keeps its chains: dtypes, places, errors."""

import math

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.storage import Storage

LIMITS = (-4.0, 4.0)
STORAGES = [
    Storage(torch.bfloat16),
    Storage(torch.float16),
    Storage(torch.uint8, LIMITS),
    Storage(device="cpu"),
]
BYTES = {None: 8, torch.bfloat16: 4, torch.float16: 4, torch.uint8: 2}  # state and residual


def sampler(**options):
    options = {"compressor": eff.TopK(2), "error_feedback": True, **options}
    return eff.Langevin(lambda x, **_: x.square().sum(1) / 2, step_size=0.1, **options)


def buffer(x0, storage, n_chains=4, **options):
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "rng": eff.Key(5), **options}
    how = options.pop("sampler", None) or sampler()
    return ReplayBuffer(how, x0, n_chains=n_chains, storage=storage, **options)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_chains_move_as_float32_and_rest_in_their_dtype(device, storage):
    replay = buffer(normal(10, 6).to(device), storage)
    replay.advance(3)
    kept, moving = replay.buffer, replay.state
    assert moving.x.dtype == moving.residual.dtype == torch.float32
    assert moving.x.device == device
    assert kept.x.device == torch.device(storage.device or device)
    per_element = kept.x.element_size() + kept.residual.element_size()
    assert per_element == BYTES[storage.dtype]
    drawn = torch.randperm(10, generator=torch.Generator().manual_seed(0))[:4]
    back = storage.fetched(kept.take(drawn.to(kept.x.device)), device)
    resolution = {None: 0, torch.uint8: 8 / 255}.get(storage.dtype, 2**-6)
    assert float((back.x - moving.x).abs().max()) <= resolution
    worst = float((back.residual - moving.residual).abs().max())
    assert worst <= (0 if storage.dtype is None else float(moving.residual.abs().max()) / 4)


def test_a_buffer_that_stays_as_it_is_moves_as_before():
    x0 = normal(10, 6)
    plain, stored = buffer(x0, None), buffer(x0, Storage(device="cpu"))
    for _ in range(3):
        plain.advance(2)
        stored.advance(2)
    assert torch.equal(plain.buffer.x, stored.buffer.x)
    assert torch.equal(plain.buffer.residual, stored.buffer.residual)


@pytest.mark.parametrize("storage", [None, STORAGES[2]], ids=str)
def test_a_buffer_is_filled_part_by_part(storage):
    asked, told = [], []

    def starts(n, y):
        asked.append(n)
        told.extend(y.tolist())
        return normal(10, 6)[sum(asked[:-1]) : sum(asked)]

    labels = torch.arange(10)
    parts = buffer(starts, storage, size=10, energy_kwargs={"y": labels})
    assert asked == [4, 4, 2]
    assert told == labels.tolist()
    assert torch.equal(parts.buffer.energy_kwargs["y"], labels)
    whole = buffer(normal(10, 6), storage, energy_kwargs={"y": labels})
    if storage is None:
        assert torch.equal(parts.buffer.x, whole.buffer.x)
    widest = 2 / 255 * 8
    numbers = [b.storage.fetched(b.buffer, torch.device("cpu")).x for b in (parts, whole)]
    assert float((numbers[0] - numbers[1]).abs().max()) <= widest
    assert parts.buffer.key == whole.buffer.key == eff.Key(5)


def test_steps_below_the_resolution_are_not_lost():
    """The chains of one buffer drift by 1/20 of the distance of two codes in each iteration."""
    distance = 8 / 255
    pull = eff.Langevin(lambda x: -x.sum(1), step_size=distance / 10, temperature=0)
    replay = buffer(torch.zeros(400, 25), Storage(torch.uint8, LIMITS), n_chains=400, sampler=pull)
    for _ in range(40):
        replay.advance(1)
    moved = float((replay.storage.fetched(replay.buffer, replay.x.device).x).mean())
    # a rounding has a standard deviation of at most half the distance
    spread = distance / 2 * math.sqrt(40 / 10_000)
    start = float(eff.from_codes(eff.stochastic_round(
        torch.zeros(400, 25), torch.uint8, rng=eff.Key(5), limits=LIMITS
    ), LIMITS).mean())  # fmt: skip
    assert moved - start == pytest.approx(40 * distance / 20, abs=4 * spread + distance / 50)


def test_a_buffer_of_codes_keeps_the_law_of_its_chains():
    replay = buffer(normal(500, 8), Storage(torch.uint8, (-6.0, 6.0)), n_chains=500)
    seen = []
    for i in range(300):
        replay.advance(10)
        if i >= 100:
            seen.append(replay.x.square().mean())
    exact = buffer(normal(500, 8), None, n_chains=500)
    reference = []
    for i in range(300):
        exact.advance(10)
        if i >= 100:
            reference.append(exact.x.square().mean())
    difference = float(torch.stack(seen).mean() - torch.stack(reference).mean())
    assert abs(difference) < 0.02


@pytest.mark.parametrize("storage", STORAGES, ids=str)
@pytest.mark.parametrize("adjusted", [False, True])
def test_a_saved_buffer_continues_with_the_same_bits(storage, adjusted):
    mala = eff.MALA(lambda x: x.square().sum(1) / 2, step_size=0.1, compressor=eff.BlockSign(3))
    options = {"sampler": mala} if adjusted else {}
    first = buffer(normal(10, 6), storage, **options)
    first.advance(2)
    saved = first.state_dict()
    saved = {**saved, "buffer": {k: _copy(v) for k, v in saved["buffer"].items()}}
    generator = first.generator.get_state()
    first.advance(2)
    second = buffer(normal(10, 6, seed=9), storage, **options)
    second.load_state_dict(saved)
    second.generator.set_state(generator)
    second.advance(2)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.buffer.x, second.buffer.x)


def _copy(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


def test_chains_saved_in_another_dtype_are_refused():
    saved = buffer(normal(10, 6), None).state_dict()
    with pytest.raises(ValueError, match=r"chains: expected x in torch\.uint8, got torch\.float32"):
        buffer(normal(10, 6), STORAGES[2]).load_state_dict(saved)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.int8,), TypeError, "dtype: expected bfloat16, float16, uint8 or None"),
        ((torch.uint8,), ValueError, "limits: expected them for uint8 only, got None"),
        ((torch.bfloat16, LIMITS), ValueError, "limits: expected them for uint8 only"),
    ],
)
def test_what_a_storage_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Storage(*arguments)


def test_a_size_without_a_function_is_refused():
    with pytest.raises(TypeError, match="size: expected the number of chains if and only if"):
        buffer(normal(10, 6), None, size=10)
    with pytest.raises(TypeError, match="size: expected the number of chains if and only if"):
        buffer(lambda n: normal(n, 6), None)
    with pytest.raises(TypeError, match="x: expected float32"):
        buffer(normal(10, 6).double(), STORAGES[0])
