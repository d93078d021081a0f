import pytest
import torch

from effebm_ext.energies import class_energy, denoise, energy_and_gradient, per_chain
from effebm_ext.networks import (
    ConvEnergy,
    GaussianBase,
    MLPEnergy,
    ResNetEnergy,
    UNetEnergy,
    make_energy,
)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 17), (1, 28, 28), (2, 3, 3)])
def test_conv_energy_maps_images_to_one_value_each(shape):
    energy = ConvEnergy(shape, width=4)
    x = torch.randn(5, *shape)
    assert energy(x).shape == (5,)
    assert torch.allclose(energy(x)[:2], energy(x[:2]), atol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (1,), (1, 4, 4)])
def test_mlp_energy_maps_events_to_one_value_each(shape):
    assert MLPEnergy(shape, width=8, depth=1)(torch.randn(5, *shape)).shape == (5,)


def test_auto_chooses_by_the_shape_of_the_event():
    assert isinstance(make_energy("auto", (1, 8, 8)), ConvEnergy)
    assert isinstance(make_energy("auto", (2,)), MLPEnergy)
    assert isinstance(make_energy("auto", (1, 4, 4)), MLPEnergy)
    with pytest.raises(ValueError, match="energy: expected auto, mlp, conv, resnet, unet, got 'x'"):
        make_energy("x", (2,))
    with pytest.raises(ValueError, match=r"event_shape: .* got \(2,\)"):
        make_energy("conv", (2,))


@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 8, 1)])
def test_a_unet_names_its_smallest_side(shape):
    with pytest.raises(ValueError, match="event_shape: expected sides of at least 2 pixels, got"):
        make_energy("unet", shape)
    small = tuple(max(2, side) for side in shape)
    assert make_energy("unet", small)(torch.zeros(3, *small)).shape == (3,)


@pytest.mark.parametrize(
    ("kind", "shape", "made"),
    [
        ("mlp", (2,), MLPEnergy((2,), width=6, depth=2)),
        ("auto", (2,), MLPEnergy((2,), width=6, depth=2)),
        ("conv", (1, 32, 32), ConvEnergy((1, 32, 32), width=6, max_halvings=2)),
        ("resnet", (1, 8, 8), ResNetEnergy((1, 8, 8), width=6, blocks=2)),
        ("unet", (1, 8, 8), UNetEnergy((1, 8, 8), width=6, blocks=2)),
    ],
)
def test_width_and_depth_are_those_of_the_network(kind, shape, made):
    def shapes(energy):
        return {name: p.shape for name, p in energy.named_parameters()}

    assert shapes(make_energy(kind, shape, width=6, depth=2)) == shapes(made)
    default = type(made)(shape)
    assert shapes(make_energy(kind, shape)) == shapes(default) != shapes(made)
    for name in ("width", "depth"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
            make_energy(kind, shape, **{name: 0})


def test_a_gaussian_base_passes_labels_on_to_its_network():
    energy = make_energy("mlp", (2,), 3, (0.5, 2.0), width=4)
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    base = ((x - 0.5) / 2).square().sum(1) / 2
    assert torch.equal(energy(x, y=y), energy.net(x, y) + base)
    assert torch.equal(energy(x), energy.net(x) + base)
    assert not torch.equal(energy(x), energy(x, y))


def test_a_gaussian_base_takes_a_column_of_energies():
    net, x = torch.nn.Linear(2, 1), torch.randn(6, 2)
    want = net(x)[:, 0] + x.square().sum(1) / 2
    assert torch.equal(GaussianBase(net, 0.0, 1.0)(x), want)
    with pytest.raises(ValueError, match="energy: expected one value per chain"):
        GaussianBase(torch.nn.Linear(2, 2), 0.0, 1.0)(x)


def test_energy_is_smooth_and_without_output_bias():
    energy = MLPEnergy((3,), width=8)
    assert not any(isinstance(m, torch.nn.ReLU) for m in energy.modules())
    assert list(energy.net)[-1].bias is None


def test_gradient_of_a_quadratic():
    x = torch.randn(4, 3, dtype=torch.float64)
    values, gradient = energy_and_gradient(lambda v: 0.5 * v.square().sum(1), x)
    assert torch.equal(gradient, x)
    assert torch.equal(values, 0.5 * x.square().sum(1))
    assert not values.requires_grad
    assert not gradient.requires_grad


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 33), (2, 3, 3)])
def test_the_residual_network_has_a_quadratic_head_and_no_kinks(shape):
    energy, x = ResNetEnergy(shape, width=4), torch.randn(5, *shape)
    assert energy(x).shape == (5,)
    assert torch.allclose(energy(x)[:2], energy(x[:2]), atol=1e-5)
    *body, head = energy.net
    h = torch.nn.Sequential(*body)(x)
    w1, w2, w3 = (layer.weight[0] for layer in (head.first, head.second, head.of_squares))
    assert torch.allclose(energy(x), (h @ w1) * (h @ w2) + h.square() @ w3, atol=1e-5)
    assert all(layer.bias is None for layer in (head.first, head.second, head.of_squares))
    assert not any(isinstance(m, (torch.nn.ReLU, torch.nn.ELU)) for m in energy.modules())
    block = energy.net[1]
    for parameter in block.branch[-1].parameters():
        torch.nn.init.zeros_(parameter)
    features = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 33), (2, 3, 3), (1, 2, 5)])
def test_the_unet_is_a_gaussian_at_first_and_then_a_distance(shape):
    energy, x = UNetEnergy(shape, width=4, scale=0.5), torch.randn(5, *shape)
    torch.testing.assert_close(energy(x), 2 * x.square().flatten(1).sum(1))
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    denoised, _ = energy.denoised(x)
    assert denoised.shape == x.shape
    distances = (x - denoised).square().flatten(1).sum(1)
    want = distances / (2 * energy.log_scale.exp() ** 2)
    torch.testing.assert_close(energy(x), want)
    torch.testing.assert_close(energy(x)[:2], energy(x[:2]))
    moved = energy.denoised(x + 1)[0] - denoised
    assert bool((moved.flatten(1).norm(dim=1) > 0).all())


def test_every_level_of_the_unet_counts():
    energy, x = UNetEnergy((3, 32, 32), width=4), torch.randn(2, 3, 32, 32)
    assert [layer.out_channels for layer in energy.shrink] == [4, 8, 16]
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    energy(x).sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in energy.parameters())


def test_the_unet_adds_what_it_saw_on_the_way_down():
    energy, x = UNetEnergy((1, 16, 16), width=4), torch.randn(2, 1, 16, 16)
    torch.nn.init.normal_(energy.enlarge[0].weight)
    for parameter in energy.enlarge[1].parameters():  # nothing comes back from smaller sizes
        torch.nn.init.zeros_(parameter)
    energy(x).sum().backward()
    assert bool(energy.shrink[0].weight.grad.any())
    assert not bool(energy.shrink[1].weight.grad.any())


def test_labels_of_an_unconditional_unet_are_refused():
    x, y = torch.randn(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="y: expected no labels"):
        UNetEnergy((1, 4, 4), width=2)(x, y)


def test_shapes_of_energies():
    assert per_chain(torch.zeros(3, 1), 3).shape == (3,)
    for bad in (torch.zeros(()), torch.zeros(3, 2), torch.zeros(4), torch.zeros(1, 3)):
        with pytest.raises(ValueError, match=r"energy: expected one value per chain"):
            per_chain(bad, 3)


def test_denoising_gives_the_posterior_mean_of_a_gaussian():
    # clean data N(0, 4), noise 0.5: noisy data N(0, 4.25), posterior mean x * 4 / 4.25
    x = torch.randn(10, 2, dtype=torch.float64)
    clean = denoise(lambda v: v.square().sum(1) / (2 * 4.25), x, 0.5)
    torch.testing.assert_close(clean, x * 4 / 4.25)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("mlp", (2,)), ("conv", (1, 8, 8)), ("resnet", (1, 8, 8)), ("unet", (1, 8, 8))],
)
def test_a_conditional_energy_has_an_energy_for_every_class_and_their_marginal(kind, shape):
    energy, x = make_energy(kind, shape, n_classes=3), torch.randn(5, *shape)
    classes = torch.stack([energy(x, torch.full((5,), y)) for y in range(3)], dim=1)
    y = torch.tensor([2, 0, 1, 1, 0])
    assert energy(x, y).shape == energy(x).shape == (5,)
    assert torch.equal(energy(x, y=y), classes[torch.arange(5), y])
    assert torch.allclose((-energy(x)).exp(), (-classes).exp().sum(1))


def test_labels_that_do_not_fit_are_refused():
    values = torch.zeros(4, 3)
    with pytest.raises(
        ValueError, match=r"y: expected int64 .* \(4,\), got torch.int64 of .*\(3,\)"
    ):
        class_energy(values, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"y: expected int64 .* got torch.float32"):
        class_energy(values, torch.zeros(4))
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        class_energy(values, torch.full((4,), 3))
    with pytest.raises(ValueError, match=r"y: expected no labels, .* without n_classes"):
        MLPEnergy((2,))(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
