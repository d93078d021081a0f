"""What the processes of the tests of effebm_ext.distributed do."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import effebm_ext as eff
from effebm_ext import distributed
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.restart import Restart
from effebm_ext.energies import energy_and_gradient
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive
from effebm_ext.training import Trainer

STATES = {
    "topk": lambda module: distributed.TopKState(module, ratio=0.25),
    "block-sign": lambda module: distributed.BlockSignState(module, block_size=4),
}
HOOKS = {"topk": distributed.topk_hook, "block-sign": distributed.block_sign_hook}
SIZES = {"first": 48, "second": 20, "third": 36}


class Given(nn.Module):
    """A module whose gradients are given: the output is a sum of products. Its last parameter is
    used first, so that gradients come in another order than DistributedDataParallel expects."""

    def __init__(self):
        super().__init__()
        for name, size in SIZES.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))

    def forward(self, gradients):
        total = torch.zeros(())
        for name in reversed(SIZES):  # a chain, so that the last one added comes first
            total = (total + (getattr(self, name) * gradients[name]).sum()) * 1.0
        return total


def given(rank, iteration):
    """Gradients of small integers, of which sums and means of four are exact."""
    generator = torch.Generator().manual_seed(100 * iteration + rank)
    return {
        name: torch.randint(-8, 9, (size,), generator=generator).float()
        for name, size in SIZES.items()
    }


def wrapped(module, hook, bucket_cap_mb):
    """In DistributedDataParallel with a hook; the state of the hook, and the list that grows by the
    parameters of every bucket that is sent."""
    ddp = DistributedDataParallel(module, bucket_cap_mb=bucket_cap_mb)
    state, sent = STATES[hook](module), []
    names = {p: name for name, p in module.named_parameters()}

    def recorded(state, bucket):
        sent.append([names[p] for p in bucket.parameters()])
        return HOOKS[hook](state, bucket)

    ddp.register_comm_hook(state, recorded)
    return ddp, state, sent


def gradients(ddp, given):
    ddp.zero_grad()
    ddp(given).backward()
    return {name: p.grad.clone() for name, p in ddp.module.named_parameters()}


def given_gradients(hook, iterations):
    """Gradients that the hook returns, the parameters of the buckets that it sends in every
    iteration, and the residuals. After the first iteration every parameter has a bucket."""
    ddp, state, sent = wrapped(Given(), hook, bucket_cap_mb=1e-5)
    seen, buckets = [], []
    for i in range(iterations):
        sent.clear()
        seen.append(gradients(ddp, given(dist.get_rank(), i)))
        buckets.append([sorted(names) for names in sent])
    return seen, buckets, state.state_dict()["residuals"]


def not_finite(hook, value):
    """Residuals before and after an iteration in which one gradient of process 1 is ``value``, and
    the gradients of it; then one more iteration is made."""
    ddp, state, _ = wrapped(Given(), hook, bucket_cap_mb=1e-5)
    rank = dist.get_rank()
    for i in range(3):
        gradients(ddp, given(rank, i))
    before, broken = state.state_dict(), given(rank, 3)
    if rank == 1:
        broken["second"][7] = value
    seen = gradients(ddp, broken)
    after = state.state_dict()
    return before["residuals"], after["residuals"], seen, gradients(ddp, given(rank, 4))


def resumed(hook):
    """Gradients after three iterations, without an interruption and with one."""
    ddp, state, _ = wrapped(Given(), hook, bucket_cap_mb=25)
    rank = dist.get_rank()
    for i in range(3):
        gradients(ddp, given(rank, i))
    saved = state.state_dict()
    whole = [gradients(ddp, given(rank, i)) for i in (3, 4)]
    again, state, _ = wrapped(Given(), hook, bucket_cap_mb=25)
    state.load_state_dict(saved)
    return whole, [gradients(again, given(rank, i)) for i in (3, 4)]


def network(hook, dtype):
    """A network in three buckets of unequal size, after some steps of SGD: its parameters, the sum
    of its own gradients, the sum of the gradients that the hook has returned, and the residuals."""
    torch.manual_seed(0)
    energy = MLPEnergy((6,), width=16, depth=2).to(dtype)
    ddp, state, _ = wrapped(energy, hook, bucket_cap_mb=1e-3)
    optimizer = torch.optim.SGD(energy.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(dist.get_rank())
    own, returned = ({n: torch.zeros_like(p) for n, p in energy.named_parameters()} for _ in "12")
    for _ in range(6):
        x = torch.randn(8, 6, generator=data).to(dtype)
        parts = torch.autograd.grad(energy(x).mean(), list(energy.parameters()))
        optimizer.zero_grad()
        ddp(x).mean().backward()
        for (name, parameter), gradient in zip(energy.named_parameters(), parts, strict=True):
            own[name] += gradient
            returned[name] += parameter.grad
        optimizer.step()
    return dict(energy.state_dict()), own, returned, state.state_dict()["residuals"]


class Widths(nn.Module):
    """E(x) = sum w_i x_i^2 / 2: the gradient of a chain has the same bits in every batch."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.5, 2, 6))

    def forward(self, x):
        return (self.w * x.square()).sum(1) / 2


N_CHAINS, BATCH = 8, 16
DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(3))


def _parts(energy, module, rate, rows):
    sampler = eff.Langevin(
        module, step_size=0.05, compressor=eff.TopK(2), error_feedback=True, on_divergence="restart"
    )
    x0 = torch.randn(N_CHAINS, 6, generator=torch.Generator().manual_seed(1))
    key = distributed.key_of_shard(eff.Key(7, 0, 100), rows)
    objective = Contrastive(energy, PersistentChains(sampler, x0[rows], rng=key), langevin_steps=3)
    return objective, torch.optim.SGD(module.parameters(), lr=rate)


def single_trainer(rate):
    module = Widths()
    objective, optimizer = _parts(module, module, rate, slice(0, N_CHAINS))
    generator = torch.Generator().manual_seed(5)
    return Trainer(
        module, optimizer, objective, DATA, batch_size=BATCH, data_noise=0.1, generator=generator
    )


def trainer_of(hook, rate, batch_size=BATCH):
    module = Widths()
    ddp, state = DistributedDataParallel(module), None
    if hook != "dense":
        state = STATES[hook](module)
        ddp.register_comm_hook(state, HOOKS[hook])
    rows = distributed.shard_of(N_CHAINS, dist.get_rank(), dist.get_world_size())
    objective, optimizer = _parts(ddp, module, rate, rows)
    return distributed.DistributedTrainer(
        ddp, optimizer, objective, DATA, batch_size=batch_size, data_noise=0.1,
        generator=torch.Generator().manual_seed(5), compression=state,
    )  # fmt: skip


def trained(hook, rate, iterations, saved=None):
    """The state after some iterations, and the metrics of them, from a saved state if there is
    one."""
    trainer = trainer_of(hook, rate)
    if saved is not None:
        trainer.load_state_dict(saved)
    metrics = [trainer.iteration() for _ in range(iterations)]
    return trainer.gathered_state_dict(), metrics, dict(trainer.energy.module.state_dict())


def refused():
    """The errors of a batch that cannot be shared out, of chains that restart, and of a state with
    no residuals."""

    def error_of(function, *arguments):
        with pytest.raises(ValueError) as error:  # noqa: PT011 (the tests look at the text)
            function(*arguments)
        return str(error.value)

    trainer = trainer_of("topk", 0.1)
    restart = Restart(0.5, torch.zeros, torch.Generator())
    trainer.chains.restart = restart
    arguments = trainer.energy, trainer.optimizer, trainer.objective, DATA
    options = {"batch_size": BATCH, "generator": torch.Generator()}
    return (
        error_of(trainer_of, "topk", 0.1, 15),
        error_of(lambda: distributed.DistributedTrainer(*arguments, **options)),
        error_of(trainer.load_state_dict, {"compression": None}),
    )


def sharded_parameters():
    """Of an energy whose parameters fully_shard has shared out, and of a plain one beside it, whose
    chains move and whose parameters are trained: the share of the parameters that this process
    holds, whether chains are equal and parameters are close in every iteration, and the gradients
    by x."""
    rank, n = dist.get_rank(), dist.get_world_size()
    plain, sharded = (_seeded_network() for _ in range(2))
    fully_shard(sharded, mesh=init_device_mesh("cpu", (n,)))
    held = sum(p.to_local().numel() for p in sharded.parameters())
    batch = DATA[distributed.shard_of(BATCH, rank, n)]
    rows = distributed.shard_of(N_CHAINS, rank, n)
    runs, seen = [_chains_and_optimizer(energy, rows) for energy in (plain, sharded)], []
    for _ in range(3):
        for energy, chains, optimizer in runs:
            chains.advance(2)
            loss = energy(batch).mean() - energy(chains.x).mean()
            optimizer.zero_grad()  # not energy.zero_grad(), which would not find the shares now
            loss.backward()
            if energy is plain:
                for parameter in plain.parameters():
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= n
            optimizer.step()
        pairs = zip(plain.parameters(), sharded.parameters(), strict=True)
        close = [torch.allclose(a, b.full_tensor(), rtol=0, atol=1e-6) for a, b in pairs]
        seen.append((torch.equal(runs[0][1].x, runs[1][1].x), all(close)))
    gradients = [energy_and_gradient(energy, batch)[1] for energy in (plain, sharded)]
    return held / sum(p.numel() for p in plain.parameters()), seen, gradients


def _chains_and_optimizer(energy, rows):
    sampler = eff.Langevin(energy, step_size=0.05, compressor=eff.TopK(2), error_feedback=True)
    key = distributed.key_of_shard(eff.Key(7), rows)
    chains = PersistentChains(sampler, DATA[:N_CHAINS][rows], rng=key)
    return energy, chains, torch.optim.SGD(energy.parameters(), lr=0.1)


def _seeded_network():
    torch.manual_seed(0)
    return MLPEnergy((6,), width=16, depth=2)
