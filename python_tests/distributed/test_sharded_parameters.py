import torch
from distributed_work import sharded_parameters
from many_processes import results_of


def test_chains_follow_an_energy_whose_parameters_are_shared_out():
    for held, seen, (plain, sharded) in results_of(sharded_parameters, 2):
        assert 0.4 < held < 0.6
        assert seen == [(True, True)] * 3
        torch.testing.assert_close(plain, sharded, rtol=0, atol=1e-6)
