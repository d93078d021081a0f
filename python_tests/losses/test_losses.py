import torch

import effebm_ext as eff
from effebm_ext.networks import MLPEnergy


def test_gradient_of_a_gaussian_model_is_the_difference_of_second_moments():
    # E = precision * x^2 / 2, so the likelihood gradient is half the difference of the moments
    precision = torch.tensor(1.0, requires_grad=True)
    data, samples = torch.randn(50, 1), 2 * torch.randn(60, 1)
    loss, gap = eff.losses.contrastive_divergence(
        precision * data[:, 0].square() / 2, precision * samples[:, 0].square() / 2
    )
    loss.backward()
    expected = (data.square().mean() - samples.square().mean()) / 2
    torch.testing.assert_close(precision.grad, expected)
    torch.testing.assert_close(gap, -expected)
    assert not gap.requires_grad


def test_squared_energies_are_added():
    data, samples = torch.tensor([1.0, 3.0]), torch.tensor([2.0])
    loss, gap = eff.losses.contrastive_divergence(data, samples, energy_l2=0.1)
    assert gap.item() == 0.0
    torch.testing.assert_close(loss, torch.tensor(0.1 * (5.0 + 4.0)))


def test_equal_batches_give_no_gradient():
    energy, x = MLPEnergy((3,), width=8), torch.randn(10, 3)
    eff.losses.contrastive_divergence(energy(x), energy(x)).loss.backward()
    assert all(p.grad.abs().max() < 1e-6 for p in energy.parameters())
