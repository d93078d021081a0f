"""Other libraries on images, with the settings that they document."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from effebm_ext.networks import ConvEnergy

N_SAMPLES = 64


def _until(seconds: float, iteration: Callable[[], None]) -> int:
    """Calls ``iteration`` for so many seconds of the processor, at least once, and returns how
    often."""
    end, n = time.process_time() + seconds, 0
    while n == 0 or time.process_time() < end:
        iteration()
        n += 1
    return n


def torchebm(data: Tensor, seconds: float, seed: int) -> tuple[Tensor, int]:
    """Persistent contrastive divergence as in the example 20-training/01-mcmc-losses of torchebm:
    10 steps of size 0.1 with a noise of 1, a buffer of 8192, batches of 256, Adam of 0.001. The
    network is the one that this library trains. Returns 64 chains and the number of iterations."""
    from torchebm.core import BaseModel
    from torchebm.losses import ContrastiveDivergence
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):  # type: ignore[misc]
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            energy: Tensor = self.network(x)
            return energy

    torch.manual_seed(seed)
    model = Model(ConvEnergy(tuple(data.shape[1:])))
    sampler = LangevinDynamics(model=model, step_size=0.1, noise_scale=1.0)
    loss_of = ContrastiveDivergence(
        model=model, sampler=sampler, k_steps=10, persistent=True, buffer_size=8192
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    last = data

    def iteration() -> None:
        nonlocal last
        loss, last = loss_of(data[torch.randint(len(data), (256,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    n = _until(seconds, iteration)
    return last.detach()[:N_SAMPLES], n


def ebmkit(data: Tensor, seconds: float, seed: int) -> tuple[Tensor, int]:
    """The short-run recipe of ebmkit's examples/train_mnist.py: 60 steps of size 10 with a noise of
    0.005, a clip of 0.01, values kept in [-1, 1], a buffer of 10,000 of which 5 % begin anew,
    batches of 128, Adam of 0.0001 and an average of the parameters, from which 300 steps lead from
    noise to the samples. Its own network. Returns 64 samples and the number of iterations."""
    import ebm

    def uniform(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape) * 2 - 1

    torch.manual_seed(seed)
    shape = tuple(data.shape[1:])
    network = ebm.nets.ConvEnergy(in_channels=shape[0], channels=(32, 64, 128))
    sampler = ebm.LangevinDynamics(
        step_size=10.0, noise_scale=0.005, grad_clip=0.01, steps=60, clamp=(-1, 1)
    )
    buffer = ebm.ReplayBuffer(10_000, shape, reinit_prob=0.05, init_fn=uniform)
    loss_of = ebm.ContrastiveDivergence(sampler, buffer=buffer, energy_reg=1.0)
    trainer = ebm.Trainer(network, loss_of, lr=1e-4, ema_decay=0.999)
    n = _until(seconds, lambda: trainer.fit(data, 1, 128, verbose=False))
    average = trainer.ema.module.eval()
    return sampler.sample(average, uniform((N_SAMPLES, *shape)), steps=300).detach(), n


PEERS = {"torchebm": torchebm, "ebmkit": ebmkit}
