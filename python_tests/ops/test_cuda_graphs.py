"""Steps in a CUDA graph: captured without touching the host; what a replay does to the noise."""

import pytest
import torch
from conftest import HAS_GPU
from helpers import assert_same_bits

import effebm_ext as eff

pytestmark = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU and a build with CUDA kernels")


def captured(step):
    """A graph of step(), which has run once before as capture demands."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


@pytest.mark.parametrize(
    "compressor", [None, eff.TopK(ratio=0.1), eff.BlockSign(64), eff.RandomK(ratio=0.1)], ids=str
)
def test_a_replay_draws_new_noise(compressor):
    x, grad = torch.zeros(16, 64, device="cuda"), torch.randn(16, 64, device="cuda")
    graph = captured(lambda: eff.langevin_step_(x, grad, 0.1, compressor=compressor))
    moves = []
    for _ in range(3):
        x.zero_()
        graph.replay()
        moves.append(x.clone())
    assert not torch.equal(moves[0], moves[1])
    assert not torch.equal(moves[1], moves[2])


def test_a_replay_with_keys_repeats_the_steps_and_their_bits():
    x, grad = torch.zeros(16, 64, device="cuda"), torch.randn(16, 64, device="cuda")
    key = eff.Key(2**63 + 5, offset=7)  # a seed that was not used before the capture

    def steps():
        for i in range(5):
            eff.langevin_step_(x, grad, 0.1, compressor=eff.BlockSign(16), rng=key.at(i))

    graph = captured(steps)
    want = torch.zeros(16, 64)
    for i in range(5):
        eff.langevin_step_(want, grad.cpu(), 0.1, compressor=eff.BlockSign(16), rng=key.at(i))
    for _ in range(2):
        x.zero_()
        graph.replay()
        assert_same_bits(x.cpu(), want)


def test_a_graph_keeps_its_key_after_many_other_seeds():
    x, grad = torch.zeros(4, 8, device="cuda"), torch.zeros(4, 8, device="cuda")
    graph = captured(lambda: eff.langevin_step_(x, grad, 0.1, rng=eff.Key(1)))
    for seed in range(200):
        eff.langevin_step(x, grad, 0.1, rng=eff.Key(seed))
    x.zero_()
    graph.replay()
    assert_same_bits(x.cpu(), eff.langevin_step(torch.zeros(4, 8), grad.cpu(), 0.1, rng=eff.Key(1)))
