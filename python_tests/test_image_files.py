"""Image data sets, from small files in the real formats."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from effebm_ext.data import load

RNG = np.random.default_rng(0)


def write_idx(path, images, *, magic=None, cut=0):
    magic = 0x0800 + images.ndim if magic is None else magic
    header = struct.pack(f">{1 + images.ndim}I", magic, *images.shape)
    content = header + images.tobytes()[: images.size - cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def check(dataset, pixels):
    assert dataset.is_image
    assert dataset.x.dtype == torch.float32
    assert torch.equal(dataset.x, torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1))


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path, kind, suffix):
    images = RNG.integers(0, 256, (5, 28, 27), dtype=np.uint8)
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", images)
    dataset = load(f"{kind}:{tmp_path}")
    check(dataset, images[:, None])
    assert dataset.labels is None
    labels = np.array([3, 0, 9, 1, 1], np.uint8)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", labels)
    dataset = load(f"{kind}:{tmp_path}", labels=True)
    check(dataset, images[:, None])
    assert torch.equal(dataset.labels, torch.from_numpy(labels).long())
    assert dataset.n_classes == 10


def test_cifar10_files(tmp_path):
    batches = [RNG.integers(0, 256, (n, 3073), dtype=np.uint8) for n in (3, 1, 2, 1, 1)]
    for number, batch in enumerate(batches, 1):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(batch.tobytes())
    dataset, records = load(f"cifar10:{tmp_path}", labels=True), np.concatenate(batches)
    check(dataset, records[:, 1:].reshape(-1, 3, 32, 32))
    assert dataset.labels.tolist() == records[:, 0].tolist()


def test_image_folders(tmp_path):
    (tmp_path / "b").mkdir()
    colour = RNG.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    Image.fromarray(colour[0]).save(tmp_path / "a.png")
    Image.fromarray(colour[1]).save(tmp_path / "b" / "c.bmp")
    (tmp_path / "notes.txt").write_text("not an image")
    check(load(f"images:{tmp_path}"), colour.transpose(0, 3, 1, 2))
    grey = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "d.png")  # among colours, three equal planes
    assert torch.equal(load(f"images:{tmp_path}").x[2, 1], load(f"images:{tmp_path}").x[2, 0])
    (tmp_path / "a.png").unlink()
    (tmp_path / "b" / "c.bmp").unlink()
    check(load(f"images:{tmp_path}"), grey[None, None])


def test_the_sub_folders_of_an_image_folder_are_its_classes(tmp_path):
    grey = RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    for pixels, name in zip(grey, ["a/1.png", "a/2.png", "b/deep/1.png", "c/0.png"], strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    dataset = load(f"images:{tmp_path}", labels=True)
    check(dataset, grey[:, None])
    assert dataset.labels.tolist() == [0, 0, 1, 2]


def no_labels(folder):
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8))


def too_few_labels(folder):
    no_labels(folder)
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(1, np.uint8))


def images_for_labels(folder):
    no_labels(folder)
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(2, np.uint8), magic=0x0803)


def no_sub_folder(folder):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("kind", "make", "error", "message"),
    [
        ("mnist", no_labels, FileNotFoundError, "expected train-labels-idx1-ubyte or .*gz in"),
        ("mnist", too_few_labels, ValueError, "expected 2 labels in .* got 1"),
        ("mnist", images_for_labels, ValueError, "is not an IDX file of labels"),
        ("images", no_sub_folder, ValueError, "every image in a sub-folder of its class in"),
    ],
)
def test_labels_that_are_missing_or_damaged_are_named(tmp_path, kind, make, error, message):
    make(tmp_path)
    load(f"{kind}:{tmp_path}")
    with pytest.raises(error, match=message):
        load(f"{kind}:{tmp_path}", labels=True)


def damaged_magic(folder):
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((1, 2, 2), np.uint8), magic=0x0801)


def cut_short(folder):
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8), cut=1)


def cut_gzip(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    write_idx(path, np.zeros((2, 2, 2), np.uint8))
    path.write_bytes(path.read_bytes()[:-9])


def half_record(folder):
    (folder / "data_batch_1.bin").write_bytes(bytes(3000))


def one_batch(folder):
    (folder / "data_batch_1.bin").write_bytes(bytes(3073))


def two_sizes(folder):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / "a.png")
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(folder / "b.png")


def no_image(folder):
    (folder / "a.png").write_bytes(b"text")


@pytest.mark.parametrize(
    ("kind", "make", "error", "message"),
    [
        ("mnist", None, FileNotFoundError, "expected train-images-idx3-ubyte or .*gz in"),
        ("mnist", damaged_magic, ValueError, "is not an IDX file of images"),
        ("mnist", cut_short, ValueError, "expected 2 x 2 x 2 bytes of images in .* got 7"),
        ("fashion-mnist", cut_gzip, ValueError, "is not a whole gzip file"),
        ("cifar10", None, FileNotFoundError, r"expected data_batch_1\.bin in"),
        ("cifar10", one_batch, FileNotFoundError, r"expected data_batch_2\.bin in"),
        ("cifar10", half_record, ValueError, "expected records of 3073 bytes .* got 3000"),
        ("images", None, FileNotFoundError, "no image files"),
        ("images", two_sizes, ValueError, r"expected images of one size, 5x4, got 6x4: .*b\.png"),
        ("images", no_image, ValueError, r"a\.png is not a readable image"),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path, kind, make, error, message):
    if make is not None:
        make(tmp_path)
    with pytest.raises(error, match=message):
        load(f"{kind}:{tmp_path}")


def test_unknown_folders_and_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load(f"images:{tmp_path / 'x'}")
    with pytest.raises(ValueError, match="cifar10:FOLDER"):
        load(f"imagenet:{tmp_path}")
