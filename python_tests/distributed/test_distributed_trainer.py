import pytest
import torch
from distributed_work import HOOKS, refused, single_trainer, trained
from many_processes import results_of


def chains_equal(a, b):
    tensors = ("x", "residual", "start")
    return all(torch.equal(a[name], b[name]) for name in tensors) and a["step"] == b["step"]


@pytest.mark.parametrize("n", [2, 4])
def test_chains_have_the_bits_of_a_single_process(n):
    single = single_trainer(rate=0.0)  # the energy stays, so that all gradients are equal
    for _ in range(4):
        single.iteration()
    (state, *_), *others = results_of(trained, n, "dense", 0.0, 4)
    assert chains_equal(state["chains"], single.state_dict()["chains"])
    assert state["chains"]["key"] == single.state_dict()["chains"]["key"]
    assert torch.equal(state["generator"], single.state_dict()["generator"])
    assert [other[0] for other in others] == [None] * (n - 1)


def test_training_is_that_of_a_single_process_up_to_rounding():
    single = single_trainer(rate=0.05)
    metrics = [single.iteration() for _ in range(6)]
    found = results_of(trained, 2, "dense", 0.05, 6)
    for i, want in enumerate(metrics):
        loss = sum(seen[i]["loss"] for _, seen, _ in found) / 2
        assert loss == pytest.approx(want["loss"], rel=1e-3, abs=1e-5)
    assert not torch.equal(single.energy.w, torch.linspace(0.5, 2, 6))
    for _, _, energy in found:
        torch.testing.assert_close(energy["w"], single.energy.w.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hook", ["dense", *HOOKS])
def test_a_resumed_run_has_the_bits_of_one_that_went_on(hook):
    whole = results_of(trained, 2, hook, 0.05, 5)[0][0]
    half = results_of(trained, 2, hook, 0.05, 2)[0][0]
    again = results_of(trained, 2, hook, 0.05, 3, half)
    assert torch.equal(again[0][0]["energy"]["w"], whole["energy"]["w"])
    assert chains_equal(again[0][0]["chains"], whole["chains"])
    assert again[0][0]["iterations"] == 5


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2)])
def test_a_run_goes_on_in_another_number_of_processes(before, after):
    half = results_of(trained, before, "topk", 0.0, 2)[0][0]
    found = results_of(trained, after, "topk", 0.0, 2, half)
    state = found[0][0]
    single = single_trainer(rate=0.0)
    for _ in range(4):
        single.iteration()
    assert chains_equal(state["chains"], single.state_dict()["chains"])
    assert len(half["compression"]) == before
    assert len(state["compression"]) == after
    assert all(torch.equal(energy["w"], found[0][2]["w"]) for _, _, energy in found)


def test_what_does_not_fit_the_processes_is_refused():
    for batch, chains, kept in results_of(refused, 2):
        assert batch == "n: expected a multiple of the 2 processes, got 15"
        assert chains == "chains: expected chains that never restart, got a Restart"
        assert kept == "compression: expected residuals if and only if the hook has them"
