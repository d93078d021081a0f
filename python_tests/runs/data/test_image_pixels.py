"""The pixels of image files: every mode of Pillow's, depths, transparency, sizes, orientation."""

import struct
import zlib

import numpy as np
import pytest
import torch
from pictures import COLOUR, DEEP, GREY, RNG, planes, scaled
from PIL import Image
from sklearn.datasets import load_digits

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.data.image_folder import pixels_of


def with_alpha(mode, alpha=255):
    image = Image.fromarray(GREY if mode == "LA" else COLOUR).convert(mode)
    image.putalpha(alpha)
    return image


def palette(colours, indices=GREY // 64, **save):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([value for colour in colours for value in colour])
    return image


COLOURS = [(250, 3, 7), (9, 200, 11), (13, 17, 240), (90, 90, 90)]
GREYS = [(0, 0, 0), (255, 255, 255), (7, 7, 7), (90, 90, 90)]

# Of each of Pillow's modes an image and its pixels, or the words with which it is refused.
BITS = np.where(GREY > 99, 255, 0).astype(np.uint8)
MODES = {
    "1": (Image.fromarray(BITS).convert("1", dither=Image.Dither.NONE), BITS),
    "L": (Image.fromarray(GREY), GREY),
    "LA": (with_alpha("LA"), GREY),
    "I;16": (Image.fromarray(DEEP), DEEP),
    "I;16L": (Image.frombytes("I;16L", (5, 6), DEEP.astype("<u2").tobytes()), DEEP),
    "I;16B": (Image.frombytes("I;16B", (5, 6), DEEP.astype(">u2").tobytes()), DEEP),
    "I;16N": (Image.frombytes("I;16N", (5, 6), DEEP.tobytes()), DEEP),
    "P": (palette(COLOURS), np.array(COLOURS, np.uint8)[GREY // 64]),
    "PA": (palette(COLOURS).convert("PA"), np.array(COLOURS, np.uint8)[GREY // 64]),
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "RGBA": (with_alpha("RGBA"), COLOUR),
    "RGBX": (Image.fromarray(COLOUR).convert("RGBX"), COLOUR),
    "CMYK": (Image.fromarray(COLOUR).convert("CMYK"), COLOUR),
    "YCbCr": (Image.new("YCbCr", (5, 6), (81, 90, 240)), (238, 13, 14)),
    "HSV": (Image.new("HSV", (5, 6), (85, 255, 200)), (0, 200, 0)),
    "LAB": (Image.new("LAB", (5, 6), (255, 128, 128)), (255, 255, 255)),
    "I": (Image.fromarray(DEEP.astype(np.int32)), "mode I holds numbers of unknown range: scale"),
    "F": (Image.fromarray(DEEP / np.float32(65535)), "mode F holds numbers of unknown range"),
    "La": (with_alpha("LA").convert("La"), "images of mode La are not read: convert it to L or"),
    "RGBa": (with_alpha("RGBA").convert("RGBa"), "images of mode RGBa are not read"),
}


def test_every_mode_of_pillow_is_decided():
    assert set(Image.MODES) <= set(MODES)
    assert all(image.mode == mode for mode, (image, _) in MODES.items())


@pytest.mark.parametrize("mode", MODES)
def test_pixels_by_mode(mode):
    image, want = MODES[mode]
    if isinstance(want, str):
        with pytest.raises(ValueError, match=want):
            pixels_of(image)
        return
    pixels, _ = pixels_of(image)
    if isinstance(want, tuple):  # of one colour; the conversion rounds
        assert pixels.shape == (6, 5, 3)
        assert np.abs(pixels.astype(int) - want).max() <= 3
    else:
        assert pixels.dtype == want.dtype
        assert np.array_equal(pixels, want)


@pytest.mark.filterwarnings("ignore:.*standard deviation")  # some are of one colour
@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *(("png", mode) for mode in ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")),
        *(("tiff", mode) for mode in ("1", "L", "LA", "I;16", "I;16B", "P", "PA", "RGB")),
        *(("tiff", mode) for mode in ("RGBA", "RGBX", "CMYK", "LAB")),
        *(("gif", mode) for mode in ("1", "L", "P")),
        *(("bmp", mode) for mode in ("1", "L", "P", "RGB")),
    ],
)
def test_files_hold_the_same_pixels(tmp_path, suffix, mode):
    image, _ = MODES[mode]
    image.save(tmp_path / f"0.{suffix}")
    pixels, _ = pixels_of(image)
    want = scaled(pixels if pixels.ndim == 2 else planes(pixels)).reshape(1, -1, 6, 5)
    assert torch.equal(load(f"images:{tmp_path}").x, want)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_files_of_unknown_range_are_refused(tmp_path, mode):
    MODES[mode][0].save(tmp_path / "0.tiff")
    with pytest.raises(ValueError, match=f"0.tiff is not a readable image: mode {mode} holds"):
        load(f"images:{tmp_path}")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_digits_of_16_bits_keep_their_values(tmp_path, suffix):
    digits = load_digits().images[:20].astype(np.uint16) * 4095
    for number, pixels in enumerate(digits):
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.{suffix}")
    x = load(f"images:{tmp_path}").x
    assert len(x.unique()) == 17
    assert torch.equal(x, scaled(digits)[:, None])


def test_depths_may_be_mixed(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.png")
    x = load(f"images:{tmp_path}").x
    assert torch.equal(x, torch.stack([scaled(DEEP), scaled(GREY)])[:, None])
    Image.fromarray(COLOUR).save(tmp_path / "c.png")
    x = load(f"images:{tmp_path}").x
    grey = torch.stack([scaled(DEEP), scaled(GREY)])[:, None].expand(2, 3, 6, 5)
    assert torch.equal(x, torch.cat([grey, scaled(planes(COLOUR))[None]]))


def write_deep_png(path, grey, alpha):
    """Grey of 16 bits with an alpha channel; every row is filtered by the differences of pixels."""
    rows = np.stack([grey, alpha], -1).astype(">u2").view(np.uint8)
    rows[:, 1:] -= rows[:, :-1].copy()
    filtered = np.insert(rows.reshape(len(rows), -1), 0, 1, 1).tobytes()
    header = struct.pack(">IIBBBBB", *grey.shape[::-1], 16, 4, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c))
        for kind, c in ((b"IHDR", header), (b"IDAT", zlib.compress(filtered)), (b"IEND", b""))
    ))  # fmt: skip


@pytest.mark.parametrize(("background", "shown"), [("white", 65535), ("black", 0)])
def test_grey_of_16_bits_with_alpha_keeps_its_depth(tmp_path, background, shown):
    write_deep_png(tmp_path / "0.png", DEEP, np.full_like(DEEP, 65535))
    data = load(f"images:{tmp_path}", background=background)
    assert torch.equal(data.x, scaled(DEEP)[None, None])
    assert data.changes == ()
    alpha = RNG.integers(0, 65536, DEEP.shape).astype(np.uint16)
    write_deep_png(tmp_path / "0.png", DEEP, alpha)
    data = load(f"images:{tmp_path}", background=background)
    want = DEEP * (alpha / 65535) + shown * (1 - alpha / 65535)
    assert torch.equal(data.x, scaled(want.round().astype(np.uint16))[None, None])
    assert data.changes == (f"transparent pixels of 1 put on {background}",)


def write_tiff(path, pixels, bits, photometric):
    """Little-endian, one strip, no compression."""
    tags = [(256, 5), (257, 6), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1),
            (278, 6), (279, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    path.write_bytes(header + pixels + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_tiff_of_another_depth_or_polarity_is_refused(tmp_path):
    path = tmp_path / "0.tif"
    write_tiff(path, DEEP.tobytes(), 16, 1)
    assert torch.equal(load(f"images:{tmp_path}").x, scaled(DEEP)[None, None])
    for pixels, bits, photometric in ((DEEP.tobytes(), 16, 0), (RNG.bytes(48), 12, 1)):
        write_tiff(path, pixels, bits, photometric)
        with Image.open(path) as image:
            assert image.mode == "I;16"
        with pytest.raises(ValueError, match=r"0\.tif is not .*: expected TIFF of 16 bits"):
            load(f"images:{tmp_path}")


def save_transparent(path, kind):
    alpha = np.full((6, 5), 255, np.uint8)
    alpha[2, 3] = 254
    if kind in ("LA", "RGBA"):
        with_alpha(kind, Image.fromarray(alpha)).save(path)
    elif kind == "PA":
        image = palette(COLOURS).convert("PA")
        image.putalpha(Image.fromarray(alpha))
        image.save(path.with_suffix(".tiff"))
    elif kind == "P":
        palette(COLOURS).save(path, transparency=1)
    elif kind == "P, by degrees":
        palette(COLOURS).save(path, transparency=bytes([255, 255, 200, 255]))
    elif kind == "I;16":
        Image.fromarray(DEEP).save(path, transparency=int(DEEP[4, 2]))
    elif kind == "L":
        Image.fromarray(GREY).save(path, transparency=int(GREY[4, 2]))
    else:
        Image.fromarray(COLOUR).save(path, transparency=tuple(COLOUR[4, 2].tolist()))


@pytest.mark.parametrize("background", ["white", "black"])
@pytest.mark.parametrize("kind", ["LA", "RGBA", "PA", "P", "P, by degrees", "I;16", "L", "RGB"])
def test_transparent_pixels_show_the_background(tmp_path, kind, background):
    save_transparent(tmp_path / "0.png", kind)
    data = load(f"images:{tmp_path}", background=background)
    shown = 255 if background == "white" else 0
    grey, colour = GREY.astype(float), COLOUR.astype(float)
    chosen = np.array(COLOURS, float)[GREY // 64]
    if kind == "I;16":
        want = np.where(DEEP[4, 2] == DEEP, shown * 257, DEEP)
    elif kind == "L":
        want = np.where(GREY[4, 2] == GREY, shown, GREY)
    elif kind == "RGB":
        want = np.where((COLOUR[4, 2] == COLOUR).all(2, keepdims=True), shown, COLOUR)
    elif kind == "P":
        want = np.where(GREY[..., None] // 64 == 1, shown, chosen)
    elif kind == "P, by degrees":
        share = np.where(GREY[..., None] // 64 == 2, 200 / 255, 1)
        want = share * chosen + (1 - share) * shown
    else:
        share = np.ones((6, 5))
        share[2, 3] = 254 / 255
        image = {"LA": grey, "RGBA": colour, "PA": chosen}[kind]
        share = share.reshape(6, 5, *[1] * (image.ndim - 2))
        want = share * image + (1 - share) * shown
    scale = 32767.5 if kind == "I;16" else 127.5
    want = want[None] if want.ndim == 2 else want.transpose(2, 0, 1)
    assert data.x.shape == (1, *want.shape)
    assert np.abs((data.x[0].numpy() + 1) * scale - want).max() <= (
        0.51 if kind != "I;16" else 0.01
    )
    assert data.changes == (f"transparent pixels of 1 put on {background}",)


def test_colours_under_transparent_pixels_do_not_show(tmp_path):
    image = Image.new("RGBA", (5, 6), (137, 10, 20, 0))
    image.putpixel((2, 3), (1, 2, 3, 255))
    image.save(tmp_path / "0.png")
    x = load(f"images:{tmp_path}").x[0]
    assert torch.equal(x[:, 3, 2], torch.tensor([1, 2, 3]) / 127.5 - 1)
    assert (x == 1).sum() == 3 * 29
    with pytest.raises(ValueError, match="background: expected white, black, got 'grey'"):
        load(f"images:{tmp_path}", background="grey")


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits"])
def test_images_of_several_sizes_are_resized(tmp_path, kind):
    def image(height, width, left, right):
        """Two halves of a value each."""
        top = {"grey": np.uint8, "colour": np.uint8, "16 bits": np.uint16}[kind]
        pixels = np.full((height, width), left, top)
        pixels[:, width // 2 :] = right
        if kind == "16 bits":
            pixels *= 257
        return np.repeat(pixels[..., None], 3, 2) if kind == "colour" else pixels

    for number, shape in enumerate([(16, 32), (64, 32), (48, 96)]):
        Image.fromarray(image(*shape, 10, 250)).save(tmp_path / f"{number}.png")
    with pytest.raises(
        ValueError,
        match=r"of one size, 16x32 \(height x width\), got 64x32: .*; a run that begins with --",
    ):
        load(f"images:{tmp_path}")
    data = load(f"images:{tmp_path}", resize="16x32")
    want = scaled(image(16, 32, 10, 250).astype(np.uint16 if kind == "16 bits" else np.uint8))
    want = want[None] if want.dim() == 2 else want.permute(2, 0, 1)
    assert torch.equal(data.x[0], want)  # of this size already
    away = [*range(11), *range(21, 32)]  # from the edge between the halves, where the filter rings
    for x in data.x[1:]:
        torch.testing.assert_close(x[..., away], want[..., away], rtol=0, atol=0.02)
    assert data.changes == ("the middle of 2 resized to 16 x 32",)
    assert load(f"images:{tmp_path}", resize="8").x.shape[2:] == (8, 8)


@pytest.mark.filterwarnings("ignore:.*standard deviation")
def test_resizing_keeps_the_middle(tmp_path):
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = GREY[0, 0] | 1
    Image.fromarray(pixels).save(tmp_path / "0.png")
    x = load(f"images:{tmp_path}", resize="8").x
    assert torch.equal(x, torch.full((1, 1, 8, 8), int(GREY[0, 0] | 1)) / 127.5 - 1)


@pytest.mark.parametrize("text", ["", "x", "8x", "x8", "8x8x8", "-8", "8.0", "0", "8x0", "٣"])
def test_sizes_that_are_none_are_refused(tmp_path, text):
    for make in (lambda: load(f"images:{tmp_path}", resize=text), lambda: TrainConfig(resize=text)):
        with pytest.raises(ValueError, match="resize: expected"):
            make()


def test_other_data_are_not_resized():
    with pytest.raises(ValueError, match="resize: expected none with digits, as only images:FOL"):
        load("digits", resize="16")


def test_the_options_of_a_run_reach_its_images(effebm, tmp_path):
    folder, run = tmp_path / "images", tmp_path / "run"
    folder.mkdir()
    for number, side in enumerate((12, 9, 20, 10)):
        Image.new("LA", (side, 10), (0, 255 * (number % 2))).save(folder / f"{number}.png")
    flags = ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1, "--chains", 2]
    flags += ["--data", f"images:{folder}", "--resize", "8", "--background", "black"]
    status, shown, _ = effebm("train", *flags, "--holdout", 0, "--out", run)
    assert status == 0
    assert shown.startswith(
        "4 images 1 x 8 x 8 in [-1, -1], std 0 (transparent pixels of 2 put on black, the middle "
        "of 4 resized to 8 x 8)"
    )
    assert effebm("train", "--resume", run)[0] == 0
    few = ["--ais-steps", 2, "--ais-chains", 2]
    assert effebm("evaluate", run, *few)[0] == 0
    for source in ("digits", f"images:{folder}"):  # digits have this size
        assert effebm("evaluate", run, *few, "--ood", source)[0] == 0
    for chain in (["--config", run / "config.json"], ["--step-size", 0.02, *flags[-6:]]):
        status, shown, _ = effebm("bias", *chain)
        assert (status, "64 entries" in shown) == (0, True)


def test_a_transparent_colour_that_no_pixel_has_is_none(tmp_path):
    for pixels, colour in ((DEEP // 2, 65535), (GREY // 2, 255), (COLOUR // 2, (255, 255, 255))):
        Image.fromarray(pixels).save(tmp_path / "0.png", transparency=colour)
        want = pixels[None] if pixels.ndim == 2 else planes(pixels)
        assert torch.equal(load(f"images:{tmp_path}").x, scaled(want)[None])
    palette(COLOURS).save(tmp_path / "0.png", transparency=bytes([255] * 4 + [0]))
    assert load(f"images:{tmp_path}").x.shape == (1, 3, 6, 5)


def test_grey_where_all_images_are(tmp_path):
    with_alpha("LA").save(tmp_path / "a.png")
    palette(GREYS).save(tmp_path / "b.png")
    palette(GREYS).save(tmp_path / "c.gif")
    x = load(f"images:{tmp_path}").x
    want = np.array(GREYS, np.uint8)[GREY // 64][..., 0]
    assert torch.equal(x, scaled(np.stack([GREY, want, want]))[:, None])
    palette(COLOURS).save(tmp_path / "d.gif")
    assert load(f"images:{tmp_path}").x.shape == (4, 3, 6, 5)


def test_equal_planes_stay_three(tmp_path):
    Image.fromarray(GREY).convert("RGB").save(tmp_path / "a.png")
    want = scaled(GREY).expand(1, 3, 6, 5)
    assert torch.equal(load(f"images:{tmp_path}").x, want)


@pytest.mark.parametrize("array", [GREY, COLOUR, DEEP], ids=["8 bits", "colour", "16 bits"])
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda p: p),
        (2, np.fliplr),
        (3, lambda p: np.rot90(p, 2)),
        (4, np.flipud),
        (5, lambda p: np.swapaxes(p, 0, 1)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: np.rot90(np.swapaxes(p, 0, 1), 2)),
        (8, np.rot90),
    ],
)
def test_the_orientation_of_a_camera_is_applied(tmp_path, array, orientation, turned):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(array).save(tmp_path / "0.png", exif=exif)
    want = np.ascontiguousarray(turned(array))
    want = want[None] if want.ndim == 2 else planes(want)
    assert torch.equal(load(f"images:{tmp_path}").x, scaled(want)[None])


FRAMES = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]


@pytest.mark.parametrize("suffix", ["gif", "tiff", "png", "webp"])
def test_several_frames_are_refused(tmp_path, suffix):
    FRAMES[0].save(tmp_path / f"0.{suffix}", save_all=True, append_images=FRAMES[1:])
    with pytest.raises(ValueError, match="expected one frame, got 2: save each as a file"):
        load(f"images:{tmp_path}")


def test_of_a_photograph_with_previews_the_first_is_read(tmp_path):
    path = tmp_path / "0.jpg"
    FRAMES[0].save(path, format="MPO", save_all=True, append_images=FRAMES[1:])
    with Image.open(path) as image:
        assert image.n_frames == 2
        want = np.asarray(image)
    assert torch.equal(load(f"images:{tmp_path}").x, scaled(planes(want))[None])
