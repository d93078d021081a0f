import os
import random
import re
import zipfile

import pytest
import torch

from effebm_ext.runs.folder import checkpoint

CONTENT = {"x": torch.arange(5.0), "step": 3, "names": ["a", "b"], "none": None}


def test_round_trip(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)
    loaded = checkpoint.load(path)
    assert torch.equal(loaded.pop("x"), CONTENT["x"])
    assert {k: loaded[k] for k in ("step", "names", "none")} == {
        "step": 3,
        "names": ["a", "b"],
        "none": None,
    }
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)

    def half_written(payload, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 4})
    assert checkpoint.load(path)["step"] == 3
    assert os.listdir(tmp_path) == ["c.pt"]


def test_truncated_files_are_refused_at_every_length(tmp_path):
    path, cut = tmp_path / "c.pt", tmp_path / "cut.pt"
    checkpoint.save(path, CONTENT)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(checkpoint.CheckpointError, match="truncated or not a checkpoint"):
            checkpoint.load(cut)


def bits(value):
    """Tensors as their bytes, so that equal means equal in every bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    return {k: bits(v) for k, v in value.items()} if isinstance(value, dict) else value


def loaded(path):
    """The bits of what is loaded; where it is refused, the words."""
    try:
        return bits(checkpoint.load(path))
    except checkpoint.CheckpointError as error:
        return str(error)


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path, flipped = tmp_path / "c.pt", tmp_path / "flipped.pt"
    checkpoint.save(path, {**CONTENT, "y": torch.arange(20, dtype=torch.float64)})
    whole, want = path.read_bytes(), loaded(path)
    refused = [f"checkpoint: {flipped} is damaged: its part '",
               f"checkpoint: {flipped} is damaged: something was appended to it",
               f"checkpoint: {flipped} is truncated or not a checkpoint"]  # fmt: skip
    seen = []
    for bit in random.Random(0).sample(range(8 * len(whole)), 400):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(damaged)
        got = loaded(flipped)
        assert got == want or got.startswith(tuple(refused)), f"bit {bit}: {got}"
        seen.append(got == want)
    assert 0 < sum(seen) < 200  # padding means nothing


def test_a_flipped_bit_in_a_tensor_is_told_by_its_part(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)
    damaged = path.read_bytes().replace(CONTENT["x"].numpy().tobytes(), bytes(20))
    path.write_bytes(damaged)
    with pytest.raises(checkpoint.CheckpointError, match="damaged: its part 'archive/data/0' is n"):
        checkpoint.load(path)


def test_parts_that_are_marked_as_folders_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)
    whole = path.read_bytes()
    entries = [entry.start() for entry in re.finditer(b"PK\x01\x02", whole)]
    assert len(entries) == len(zipfile.ZipFile(path).infolist())
    for start in entries:
        damaged = bytearray(whole)
        damaged[start + 38] ^= 0x10  # the folder's bit of the external attributes
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.CheckpointError, match="is damaged: its part 'archive/"):
            checkpoint.load(path)


@pytest.mark.parametrize("tail", [b"\0", b"PK\x05\x06", bytes(4096), b"x" * 70000])
def test_appended_bytes_are_refused(tmp_path, tail):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(checkpoint.CheckpointError, match=r"something was appended|is truncated or"):
        checkpoint.load(path)


def test_foreign_archives_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    with pytest.raises(checkpoint.CheckpointError, match="is truncated or not a checkpoint"):
        checkpoint.load(path)


def test_checksums_are_kept_whatever_torch_is_told(tmp_path):
    path = tmp_path / "c.pt"
    torch.serialization.set_crc32_options(False)
    try:
        checkpoint.save(path, CONTENT)
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(path).testzip() is None
    assert checkpoint.load(path)["step"] == 3


class Foreign:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": torch.zeros(2)}, "was not written by effebm_ext"),
        ([1, 2], "was not written by effebm_ext"),
        ({"format": "effebm_ext checkpoint", "version": 99}, "expected version 1 .* got 99"),
        ({"format": "effebm_ext checkpoint"}, "expected version 1 .* got None"),
        ({"format": "effebm_ext checkpoint", "x": Foreign()}, "truncated or not a checkpoint"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "f.pt")
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.load(tmp_path / "f.pt")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint: no such file"):
        checkpoint.load(tmp_path / "none.pt")
