import numpy as np
import pytest
import torch

from effebm_ext.data import TOYS, Dataset, load


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


def test_labels_of_digits_and_toys():
    digits = load("digits")
    assert digits.labels.dtype == torch.int64
    assert digits.n_classes == 10
    assert digits.labels[:12].tolist() == [*range(10), 0, 1]
    for name, modes in (("eight-gaussians", 8), ("two-moons", 2), ("rings", 2)):
        data = load(name)
        assert data.labels.dtype == torch.int64
        assert torch.allclose(data.labels.bincount() / 10_000, torch.tensor(1 / modes), atol=0.02)
    data = load("eight-gaussians")
    mode = (torch.atan2(data.x[:, 1], data.x[:, 0]) / (torch.pi / 4)).round().long() % 8
    assert torch.equal(mode, data.labels)
    data = load("rings")
    assert torch.equal((data.x.norm(dim=1) > 1.125).long(), data.labels)
    data = load("two-moons")
    assert data.x[data.labels == 1, 1].mean() > 0.3 > -0.3 > data.x[data.labels == 0, 1].mean()


def test_labels_stay_with_their_rows_in_a_split():
    data = load("rings")
    for part in data.split(0.3, seed=0):
        assert torch.equal((part.x.norm(dim=1) > 1.125).long(), part.labels)


def test_the_draws_of_the_toys_stay_as_they_are():
    sums = [float(load(name, seed=5).x.double().square().sum()) for name in TOYS]
    assert sums == pytest.approx([22702.30269473, 10161.78574559, 14112.54324977], rel=1e-9)


def test_labels_of_files(tmp_path):
    x, path = np.zeros((4, 2)), tmp_path / "mine.npz"
    np.savez(path, x=x, y=np.array([1, 0, 2, 1], np.uint8))
    assert load(str(path)).labels is None
    assert torch.equal(load(str(path), labels=True).labels, torch.tensor([1, 0, 2, 1]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "expected labels in .*: a .npz file with an array named y"),
        (np.zeros(4), r"integer labels y of shape \(4,\) in .* got float64 of shape \(4,\)"),
        (np.zeros((4, 1), int), r"got int64 of shape \(4, 1\)"),
        (np.array([1, 2, 3, 4]), "expected labels 0 to K - 1 in .* got 4 different from 1 to 4"),
        (np.array([0, 0, 3, 3]), "got 2 different from 0 to 3"),
        (np.array([-1, 0, 1, 1]), "got 3 different from -1 to 1"),
    ],
)
def test_bad_labels_are_refused(tmp_path, labels, message):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.zeros((4, 2)), **({} if labels is None else {"y": labels}))
    load(str(path))
    with pytest.raises(ValueError, match=message):
        load(str(path), labels=True)


def test_a_dataset_has_a_label_for_every_row():
    with pytest.raises(ValueError, match=r"labels: expected shape \(3,\), got \(2,\)"):
        Dataset("d", torch.zeros(3, 1), False, torch.zeros(2, dtype=torch.int64))
