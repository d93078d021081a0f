"""Folders of images: classes, links, strange and damaged files, and what is said of them."""

import json
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from pictures import COLOUR, GREY, planes, scaled
from PIL import Image

from effebm_ext.runs.data.dataset import load


def test_image_folders(tmp_path):
    (tmp_path / "b").mkdir()
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    Image.fromarray(255 - COLOUR).save(tmp_path / "b" / "c.bmp")
    (tmp_path / "notes.txt").write_text("not an image")
    data = load(f"images:{tmp_path}")
    assert torch.equal(data.x, torch.stack([scaled(planes(c)) for c in (COLOUR, 255 - COLOUR)]))
    assert data.changes == ("1 other file passed over",)
    (tmp_path / "b" / "movie.mpg").touch()
    (tmp_path / ".hidden").touch()
    assert load(f"images:{tmp_path}").changes == ("2 other files passed over",)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "webp", "ppm", "JP2", "j2k", "tga"])
def test_pictures_are_what_pillow_opens(tmp_path, suffix):
    if Image.registered_extensions().get(f".{suffix.lower()}") not in Image.SAVE:
        pytest.skip("this Pillow lacks the format")
    path = tmp_path / f"0.{suffix}"
    Image.fromarray(COLOUR).save(path)
    with Image.open(path) as image:
        want = scaled(planes(np.asarray(image)))
    data = load(f"images:{tmp_path}")
    assert torch.equal(data.x[0], want)
    assert data.changes == ()


def test_sub_folders_are_classes_and_hidden_names_are_not(tmp_path):
    names = ["a/1.png", "a/2.PNG", "b/deep/1.png", "c/0.png"]
    hidden = [".ipynb_checkpoints/0.png", "a/.ipynb_checkpoints/1.png", "b/._1.png", ".x.png"]
    for number, name in enumerate(names + hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY // 10 * 10 + np.uint8(number)).save(tmp_path / name)
    (tmp_path / "b" / "._1.png").write_bytes(b"what macOS writes there")
    (tmp_path / ".DS_Store").write_bytes(b"and there")
    dataset = load(f"images:{tmp_path}", labels=True)
    want = np.stack([GREY // 10 * 10 + np.uint8(number) for number in range(4)])
    assert torch.equal(dataset.x, scaled(want)[:, None])
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    assert dataset.n_classes == 3


def test_links_and_folders_with_names_of_images(tmp_path):
    folder, elsewhere = tmp_path / "f", tmp_path / "elsewhere"
    for path, pixels in ((folder / "a" / "x.png", GREY), (elsewhere, 255 - GREY)):
        path.mkdir(parents=True)
        Image.fromarray(pixels).save(path / "0.png")
    (folder / "b").symlink_to(elsewhere)
    (folder / "c").mkdir()
    (folder / "c" / "1.png").symlink_to(elsewhere / "0.png")
    dataset = load(f"images:{folder}", labels=True)
    assert torch.equal(dataset.x, scaled(np.stack([GREY, 255 - GREY, 255 - GREY]))[:, None])
    assert dataset.labels.tolist() == [0, 1, 2]


def broken_link(folder):
    (folder / "a" / "1.png").symlink_to(folder / "gone.png")


def loop(folder):
    (folder / "a" / "b").symlink_to(folder)


def linked_twice(folder):
    (folder / "b").symlink_to(folder / "a")


def empty_class(folder):
    (folder / "b").mkdir()
    (folder / "c").mkdir()


def unreadable_class(folder):
    (folder / "b").mkdir()
    (folder / "b" / "photo.heic").touch()


def image_without_class(folder):
    Image.fromarray(GREY).save(folder / "z.png")


def two_sizes(folder):
    Image.fromarray(GREY[:, :4]).save(folder / "a" / "1.png")


def no_image(folder):
    (folder / "a" / "1.png").write_bytes(b"text")


def cut(folder):
    path = folder / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:-40])


def broken_stream(folder):
    """A PNG whose pixels are no stream of zlib's."""
    pixels = struct.pack(">I4s4s", 4, b"IDAT", b"none")
    header = struct.pack(">4sIIBBBBB", b"IHDR", 5, 6, 8, 0, 0, 0, 0)
    (folder / "a" / "1.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
        + struct.pack(">I", zlib.crc32(header)) + pixels + struct.pack(">I", zlib.crc32(pixels[4:]))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (broken_link, FileNotFoundError, r"got a broken link or a device: .*a/1\.png"),
        (loop, ValueError, "a/b leads to a folder that was found before"),
        (linked_twice, ValueError, "leads to a folder that was found before"),
        (empty_class, ValueError, "as a class without data cannot be learnt, got none in b, c"),
        (unreadable_class, ValueError, "expected images in every sub-folder .* got none in b"),
        (
            image_without_class,
            ValueError,
            r"of its class in .*, got .*\.png beside them",
        ),
        (two_sizes, ValueError, r"images of one size, 6x5 \(height x width\), got 6x4: .*a/1\.png"),
        (no_image, ValueError, r"a/1\.png is not a readable image"),
        (cut, ValueError, r"a/0\.png is not a readable image"),
        (broken_stream, ValueError, r"a/1\.png is not a readable image"),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path, make, error, message):
    (tmp_path / "a").mkdir()
    Image.fromarray(GREY).save(tmp_path / "a" / "0.png")
    make(tmp_path)
    with pytest.raises(error, match=f"data: .*{message}"):
        load(f"images:{tmp_path}", labels=True)


def test_a_folder_without_images_is_named_with_what_it_has(tmp_path):
    (tmp_path / "photo.heic").touch()
    (tmp_path / "more").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image files .* got more/, photo\.heic$"):
        load(f"images:{tmp_path}")


def test_every_error_of_pillow_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # as if the file claimed billions
    Image.fromarray(GREY).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"0\.png is not a readable image: .*decompression bomb"):
        load(f"images:{tmp_path}")


def test_a_missing_pillow_is_no_fault_of_the_files(tmp_path, monkeypatch):
    (tmp_path / "0.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError):
        load(f"images:{tmp_path}")


@pytest.mark.parametrize("more", [[], ["--conditional"]], ids=["pictures", "classes"])
def test_runs_may_lie_among_their_pictures(effebm, tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(f"a/{number}.png")
    tiny = ["--iterations", 1, "--ais-steps", 2, "--langevin-steps", 1, "--chains", 4, *more]
    flags = ["--data", "images:.", "--holdout", 0, *tiny]
    for number, run in enumerate(("run", "runs/deeper")):
        status, shown, _ = effebm("train", *flags, "--out", run)
        assert (status, (tmp_path / run / "curves.png").exists()) == (0, True)
        assert shown.startswith("4 images 1 x 8 x 8")
        assert ("the pictures of 1 run left out" in shown) == bool(number)
        assert effebm("train", "--resume", run)[0] == 0
        assert effebm("evaluate", run)[0] == 0
    assert load("images:.").changes == ("the pictures of 2 runs left out",)
    (tmp_path / "run" / "config.json").write_text('{"format": "another", "data": 1}')
    with pytest.raises(ValueError, match="images of one size"):
        load("images:.")


def test_classes_keep_their_names(effebm, tmp_path):
    for name in ("china", "flower", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.full((8, 8), 20 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    run, out = tmp_path / "run", tmp_path / "x.npy"
    tiny = ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1, "--chains", 6]
    data = ["--data", f"images:{tmp_path / 'photos'}", "--conditional", "--holdout", 0]
    status, shown, _ = effebm("train", *data, *tiny, "--out", run)
    assert status == 0
    assert "; 3 classes: 1, china, flower; 18 to train on" in shown
    of_class = {}
    for label in ("flower", 2, 1, 0):  # a name comes before a number: "1" is class 0
        status, printed, _ = effebm("sample", run, "--label", label, "--out", out)
        assert status == 0
        drawn = {"flower": "flower", 2: "flower"}.get(label, "1")
        assert f" samples of class '{drawn}' in " in printed
        of_class[label] = np.load(out)
    assert np.array_equal(of_class["flower"], of_class[2])
    assert np.array_equal(of_class[1], of_class[0])
    assert not np.array_equal(of_class["flower"], of_class[0])
    assert effebm("evaluate", run, "--ais-steps", 2)[0] == 0
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert [c["name"] for c in evaluation["classes"]] == ["1", "china", "flower"]
    status, _, error = effebm("sample", run, "--label", "flwer", "--out", out)
    said = "label: expected 0 to 2, 1, china, flower, got 'flwer': did you mean flower?"
    assert (status, said in error) == (2, True)
