import pytest
import torch

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.distributed import chains_of_shard, joined_chains, key_of_shard, shard_of


class Gaussian(torch.nn.Module):
    def forward(self, x, y):
        return (x.square().sum(1) + y) / 2


SAMPLERS = {
    "langevin": lambda: eff.Langevin(
        Gaussian(), step_size=0.1, compressor=eff.BlockSign(4), error_feedback=True,
        averaged_noise=True, on_divergence="restart",
    ),
    "mala": lambda: eff.MALA(Gaussian(), step_size=0.5, compressor=eff.RandomK(2)),
}  # fmt: skip
X0 = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12.0)


def chains_of(sampler, rows):
    key = key_of_shard(eff.Key(3, 4, 1000), rows)
    return PersistentChains(
        SAMPLERS[sampler](), X0[rows], rng=key, energy_kwargs={"y": LABELS[rows]}
    )


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_shards_have_the_bits_of_all_chains_together(sampler, n):
    whole = chains_of(sampler, slice(0, 12))
    whole.advance(5)
    parts = []
    for rank in range(n):
        part = chains_of(sampler, shard_of(12, rank, n))
        part.advance(5)
        parts.append(part.state_dict())
    assert equal(joined_chains(parts), whole.state_dict())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_chains_go_from_two_shards_to_four_and_back(sampler):
    whole = chains_of(sampler, slice(0, 12))
    whole.advance(2)
    state, counts = whole.state_dict(), (4, 2, 4)
    for n in counts:
        parts = []
        for rank in range(n):
            rows = shard_of(12, rank, n)
            part = chains_of(sampler, rows)
            part.load_state_dict(chains_of_shard(state, rows))
            part.advance(3)
            parts.append(part.state_dict())
        state = joined_chains(parts)
    for _ in counts:
        whole.advance(3)
    assert equal(state, whole.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0, 4), "n: expected a multiple of the 4 processes, got 10"),
        ((8, 4, 4), "rank: expected 0 <= rank < 4, got 4"),
        ((8, 0, 0), "world_size: expected at least 1, got 0"),
    ],
    ids=["n", "rank", "world_size"],
)
def test_a_shard_is_one_of_equal_parts(arguments, message):
    with pytest.raises(ValueError, match=message):
        shard_of(*arguments)


def test_parts_in_another_order_are_refused():
    parts = [chains_of("mala", shard_of(12, rank, 2)).state_dict() for rank in range(2)]
    with pytest.raises(ValueError, match="parts: expected key and step"):
        joined_chains([parts[0], parts[0]])


@pytest.mark.parametrize("ends", [slice(0, 6), slice(6, 12)], ids=["first", "last"])
def test_signs_of_shards_with_and_without_zeros_are_joined(ends):
    def chains(rows):
        # Where x is negative the gradient, and with it the entry of the drift, is zero.
        sampler = eff.MALA(lambda x: x.relu().square().sum(1) / 2, step_size=1e-3,
                           compressor=eff.BlockSign(2))  # fmt: skip
        return PersistentChains(sampler, x0[rows], rng=key_of_shard(eff.Key(3), rows))

    x0 = X0.abs() + 1
    x0[ends, ::3] *= -1
    parts = [chains(shard_of(12, rank, 2)).state_dict() for rank in range(2)]
    assert {part["drift"]["zeros"] is None for part in parts} == {True, False}
    assert equal(joined_chains(parts), chains(slice(0, 12)).state_dict())
