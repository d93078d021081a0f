"""What torch.compile(fullgraph=True) has to trace, whichever torch is installed."""

import pytest
import torch

import effebm_ext as eff


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_a_key_advanced_inside_a_compiled_loop(backend):
    def walk(x, grad, seed):
        key = eff.Key(seed, first_chain=5)
        for step in range(3):
            x = eff.langevin_step(x, grad, 0.1, compressor=eff.TopK(2), rng=key.at(step))
        return eff.langevin_step(x, grad, 0.1, rng=key.at(7).at(1))

    torch._dynamo.reset()
    compiled = torch.compile(walk, backend=backend, fullgraph=True)
    x, grad = torch.linspace(-1, 1, 12).reshape(3, 4), torch.ones(3, 4)
    for seed in (0, 2**40 + 1):
        assert torch.equal(compiled(x, grad, seed), walk(x, grad, seed))
