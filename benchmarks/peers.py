"""Samplers and training iterations of this library, of its peers and of plain loops, alike.

A sampler is a function of a network and a batch of chains; it makes ``steps`` Langevin steps of the
same law. An iteration moves persistent chains by these steps and the parameters by one step of
Adam. Peers that are not installed are left out by name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.training import Trainer

STEP_SIZE = 0.02  # gamma; 2h of the peers
Sample = Callable[[nn.Module, Tensor, int], Tensor]
Iteration = Callable[[], Any]


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def ours(**options: Any) -> Sample:
    def sample(network: nn.Module, x: Tensor, steps: int) -> Tensor:
        if network not in samplers:
            samplers[network] = eff.Langevin(network, **options)
        return samplers[network].sample(x, steps)

    samplers: dict[nn.Module, eff.Langevin] = {}  # a compiled energy is compiled once
    options.setdefault("step_size", STEP_SIZE)
    return sample


def plain(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    """The loop that a careful user writes: no gradient of parameters, no new tensors."""
    x, noise = x.clone(), torch.empty_like(x)
    network.requires_grad_(False)
    for _ in range(steps):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        x = x.detach()
        x.add_(gradient, alpha=-STEP_SIZE / 2).add_(noise.normal_(), alpha=STEP_SIZE**0.5)
    network.requires_grad_(True)
    return x


def torchebm(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    from torchebm.samplers import LangevinDynamics

    sampler = LangevinDynamics(_torchebm_model(network), step_size=STEP_SIZE / 2)
    result: Tensor = sampler.sample(x=x, n_steps=steps)
    return result


def ebmkit(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    from ebm.samplers import LangevinDynamics

    result: Tensor = LangevinDynamics(STEP_SIZE / 2, steps).sample(network, x)
    return result


def _torchebm_model(network: nn.Module) -> nn.Module:
    from torchebm.core import BaseModel

    class Model(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return network(x)

    return Model()


def samplers(shards: int, *, compiled: bool, dtype: torch.dtype | None) -> dict[str, Sample]:
    """Returns the samplers by name; the names of this library's begin with ``ours``."""
    found: dict[str, Sample] = {"plain loop": plain}
    if installed("torchebm"):
        found["torchebm"] = torchebm
    if installed("ebm"):
        found["ebmkit"] = ebmkit
    found["ours"] = ours()
    found["ours, shards"] = ours(shards=shards)
    if compiled:
        found["ours, compiled"] = ours(compile=True)
        found["ours, compiled, shards"] = ours(compile=True, shards=shards)
    if dtype is not None:
        short = {"gradient_dtype": dtype, "compile": compiled, "shards": shards}
        found[f"ours, {str(dtype).removeprefix('torch.')}, shards"] = ours(**short)
    return found


def our_iteration(network: nn.Module, data: Tensor, steps: int, **options: Any) -> Iteration:
    sampler = eff.Langevin(network, step_size=STEP_SIZE, **options)
    chains = PersistentChains(sampler, torch.randn_like(data), rng=eff.Key(0))
    trainer = Trainer(
        network,
        torch.optim.Adam(network.parameters(), 1e-4),
        Contrastive(network, chains, langevin_steps=steps, energy_l2=0.0),
        data,
        batch_size=len(data),
    )
    return trainer.iteration


def plain_iteration(network: nn.Module, data: Tensor, steps: int) -> Iteration:
    optimizer, chains = torch.optim.Adam(network.parameters(), 1e-4), [torch.randn_like(data)]

    def iteration() -> None:
        chains[0] = x = plain(network, chains[0], steps)
        rows = torch.randint(len(data), (len(data),))
        loss = network(data[rows]).mean() - network(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return iteration


def ebmkit_iteration(network: nn.Module, data: Tensor, steps: int) -> Iteration:
    from ebm.buffer import ReplayBuffer
    from ebm.losses import ContrastiveDivergence
    from ebm.samplers import LangevinDynamics
    from ebm.training import Trainer as EbmTrainer

    buffer = ReplayBuffer(len(data), tuple(data.shape[1:]), reinit_prob=0.0)
    loss = ContrastiveDivergence(LangevinDynamics(STEP_SIZE / 2, steps), buffer)
    trainer = EbmTrainer(network, loss, lr=1e-4)
    return lambda: trainer.fit(data, 1, len(data), verbose=False)


def torchebm_iteration(network: nn.Module, data: Tensor, steps: int) -> Iteration:
    from torchebm.losses import ContrastiveDivergence
    from torchebm.samplers import LangevinDynamics

    model = _torchebm_model(network)
    sampler = LangevinDynamics(model, step_size=STEP_SIZE / 2)
    loss_of = ContrastiveDivergence(
        model, sampler, k_steps=steps, persistent=True, buffer_size=len(data), init_steps=0,
        new_sample_ratio=0.0, energy_reg_weight=0.0,
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def iteration() -> None:
        rows = torch.randint(len(data), (len(data),))
        loss, _ = loss_of(data[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return iteration


def iterations(
    make: Callable[[], nn.Module], data: Tensor, steps: int, shards: int
) -> dict[str, Iteration]:
    """Returns a training iteration of each library by name, each with a network of its own."""
    found = {"plain loop": plain_iteration(make(), data, steps)}
    if installed("torchebm"):
        found["torchebm"] = torchebm_iteration(make(), data, steps)
    if installed("ebm"):
        found["ebmkit"] = ebmkit_iteration(make(), data, steps)
    found["ours"] = our_iteration(make(), data, steps)
    found["ours, shards"] = our_iteration(make(), data, steps, shards=shards)
    return found
