import numpy as np
import pytest
import torch

from effebm_ext.data import TOYS, load


def test_digits_are_real_images_in_range():
    data = load("digits")
    assert data.x.shape == (1797, 1, 8, 8)
    assert data.x.dtype == torch.float32
    assert (data.x.min(), data.x.max()) == (-1.0, 1.0)
    assert data.is_image
    assert data.event_shape == (1, 8, 8)


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_reproducible_and_of_about_unit_scale(name):
    first, again, other = load(name, seed=1).x, load(name, seed=1).x, load(name, seed=2).x
    assert first.shape == (10_000, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.4 < first.std() < 1.5
    assert first.mean(0).abs().max() < 0.1


def test_eight_gaussians_lie_where_they_are_said_to():
    x = load("eight-gaussians").x
    angle = torch.atan2(x[:, 1], x[:, 0]) / (torch.pi / 4)
    centres = torch.stack(
        [torch.cos(angle.round() * torch.pi / 4), torch.sin(angle.round() * torch.pi / 4)], 1
    )
    assert (x - 1.5 * centres).std() == pytest.approx(0.1, rel=0.05)
    assert len(angle.round().remainder(8).unique()) == 8


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_are_read_as_they_are(tmp_path, suffix):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2)
    path = tmp_path / f"mine{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, x=array, y=array[:1])
    data = load(str(path))
    assert np.array_equal(data.x.numpy(), array)
    assert data.is_image
    assert data.name == "mine"


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an array", "is not a readable .npy file"),
        (b"", "is not a readable .npy file"),
        (np.zeros(5), r"expected an array \(n, \*event\).* got shape \(5,\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
        (np.zeros((3, 0)), r"got shape \(3, 0\)"),
        (np.array([["a", "b"]]), "expected numbers in .* got dtype <U1"),
        (np.zeros((2, 2), complex), "expected numbers in .* got dtype complex128"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "expected finite values in .* got 2 that"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "bad.npy", content))


def test_truncated_archives_are_refused(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, x=np.zeros((50, 50)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is not a readable \.npz file"):
        load(str(path))


def test_pickled_arrays_are_not_executed(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is not a readable"):
        load(str(path))


def test_unknown_names_missing_files_and_ambiguous_archives(tmp_path):
    with pytest.raises(ValueError, match=r"data: expected digits, .* got 'digit'"):
        load("digit")
    with pytest.raises(FileNotFoundError, match="data: no such file"):
        load(str(tmp_path / "none.npy"))
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"one named x, got \['a', 'b'\]"):
        load(str(tmp_path / "two.npz"))
