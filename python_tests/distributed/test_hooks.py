import pytest
import torch
from distributed_work import (
    HOOKS,
    SIZES,
    STATES,
    Given,
    given,
    given_gradients,
    network,
    not_finite,
    resumed,
)
from helpers import INF, NAN
from many_processes import results_of

from effebm_ext.distributed import BlockSignState, TopKState, mean_residuals


def topk(u):
    """A quarter of the entries of largest magnitude, the first among equal ones."""
    kept = u.abs().argsort(descending=True, stable=True)[: len(u) // 4]
    return torch.zeros_like(u).index_copy(0, kept, u[kept])


def block_sign(u):
    """Blocks of four become their mean magnitude with the sign of each entry, + of a zero."""
    blocks = u.view(-1, 4)
    return (torch.where(blocks < 0, -1.0, 1.0) * blocks.abs().mean(1, keepdim=True)).flatten()


REFERENCES = {"topk": topk, "block-sign": block_sign}


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_a_plain_reference_in_every_bucket(hook, n):
    found = results_of(given_gradients, n, hook, 4)
    buckets = found[0][1]
    assert buckets[0] == [list(SIZES)]  # DistributedDataParallel has one bucket at first
    assert sorted(buckets[1]) == [[name] for name in SIZES]
    residuals = [{name: torch.zeros(size) for name, size in SIZES.items()} for _ in range(n)]
    for i, bucket in [(i, names) for i, sent in enumerate(buckets) for names in sent]:
        sent = []
        for rank, residual in enumerate(residuals):
            u = torch.cat([given(rank, i)[name] + residual[name] for name in bucket])
            sent.append(REFERENCES[hook](u))
            errors = (u - sent[-1]).split([SIZES[name] for name in bucket])
            residual |= dict(zip(bucket, errors, strict=True))
        for seen, *_ in found:
            assert torch.equal(torch.cat([seen[i][name] for name in bucket]), sum(sent) / n)
    for residual, (*_, kept) in zip(residuals, found, strict=True):
        assert all(torch.equal(kept[name], residual[name]) for name in SIZES)


@pytest.mark.parametrize(
    ("n", "dtype"), [(1, torch.float64), (2, torch.float64), (4, torch.float32)], ids=str
)
@pytest.mark.parametrize("hook", HOOKS)
def test_replicas_stay_equal_and_no_gradient_is_lost(hook, n, dtype):
    found = results_of(network, n, hook, dtype)
    parameters, owns, returned, residuals = zip(*found, strict=True)
    for other in range(1, n):
        assert all(torch.equal(parameters[0][p], parameters[other][p]) for p in parameters[0])
        assert all(torch.equal(returned[0][p], returned[other][p]) for p in returned[0])
    tolerance = {"rtol": 0, "atol": 50 * torch.finfo(dtype).eps}
    assert max(residual.abs().max() for residual in residuals[0].values()) > 1e-2
    for name in residuals[0]:
        came = sum(own[name] for own in owns) / n
        kept = sum(residual[name] for residual in residuals) / n
        torch.testing.assert_close(returned[0][name] + kept, came, **tolerance)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("hook", HOOKS)
def test_residuals_outlive_a_gradient_that_is_not_finite(hook, value):
    for before, after, seen, later in results_of(not_finite, 2, hook, value):
        assert all(torch.equal(before[name], after[name]) for name in SIZES)
        assert not seen["second"].isfinite().all()
        assert all(gradient.isfinite().all() for gradient in later.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_loaded_state_continues_to_the_bit(hook):
    for whole, again in results_of(resumed, 2, hook):
        for a, b in zip(whole, again, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in SIZES)


@pytest.mark.parametrize("hook", STATES)
def test_residuals_of_other_parameters_are_refused(hook):
    saved = STATES[hook](Given()).state_dict()
    saved["residuals"]["first"] = torch.zeros(5)
    with pytest.raises(ValueError, match="residuals: expected the shapes"):
        STATES[hook](Given()).load_state_dict(saved)


def test_a_mean_of_residuals_keeps_their_sum_over_processes():
    states = [{"residuals": given(rank, 0)} for rank in range(2)]
    mean = mean_residuals(states)["residuals"]
    for name in SIZES:
        assert torch.equal(2 * mean[name], sum(s["residuals"][name] for s in states))


def test_what_is_sent_has_the_size_that_is_stated():
    u = torch.randn(1, 23_000)
    dense = u.nbytes
    assert BlockSignState(Given()).pack(u).nbytes <= dense / 28
    assert TopKState(Given()).pack(u).nbytes == 230 * 6
    assert TopKState(Given()).pack(torch.randn(1, 40_000)).nbytes == 400 * 8
    zeros = torch.cat([u[:, :100] * 0, u[:, 100:]], 1)
    assert BlockSignState(Given()).pack(zeros).nbytes == BlockSignState(Given()).pack(u).nbytes


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: TopKState(Given(), ratio=0.0), "ratio: expected 0 < ratio <= 1, got 0.0"),
        (lambda: BlockSignState(Given(), block_size=0), "block_size: expected at least 1, got 0"),
    ],
    ids=["ratio", "block_size"],
)
def test_arguments_of_states_are_checked(state, message):
    with pytest.raises(ValueError, match=message):
        state()
