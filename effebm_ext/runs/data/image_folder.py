"""Reading of a folder of image files: PNG, JPEG and other formats that Pillow opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from effebm_ext.runs.data.files import Images, check_folder, listing
from effebm_ext.runs.data.resizing import resized
from effebm_ext.runs.run_mark import is_marked

if TYPE_CHECKING:
    from PIL import Image

# Formats of pictures. Pillow has names of movies, fonts and arrays among its own too.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TGA",
            "TIFF", "WEBP")  # fmt: skip

# These are the modes of Pillow and how images of each are read. Other modes are refused: Pillow's
# own conversions cut values off without a word.
_MODES = {
    "1": "grey",
    "L": "grey",
    "LA": "grey",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I;16L": "grey of 16 bits",
    "I;16N": "grey of 16 bits",
    "P": "palette",
    "PA": "palette",
    "RGB": "colour",
    "RGBA": "colour",
    "RGBX": "colour",
    "CMYK": "colour",
    "YCbCr": "colour",
    "LAB": "colour",
    "HSV": "colour",
    "I": "of unknown range",
    "F": "of unknown range",
}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _BLACK_IS_ZERO = 258, 262, 1  # tags of TIFF


BACKGROUNDS = ("white", "black")


def read_images(
    folder: Path,
    *,
    labels: bool = False,
    size: tuple[int, int] | None = None,
    background: str = "white",
) -> Images:
    """Reads every image file in the folder and the folders below, in the order of their paths.
    These are the files whose suffix is that of a picture that the installed Pillow opens.

    Names that begin with a dot are passed over, and so are folders below that hold a run, whose
    pictures are no data. The result is grey if all images are grey, else RGB. The orientation of
    EXIF is applied. Grey images of 16 bits keep their depth; if there are any, grey images of 8
    bits are multiplied by 257, which keeps their share of the maximum.
    Colours of 16 bits keep the high byte. Transparent pixels show the background. Images with
    several frames, or with numbers of unknown range (32 bits or floating point) are refused.

    Args:
        folder: where to look; links to other folders are followed.
        labels: number the sub-folders, in the order of their names: they are the classes.
        size: bring all images to this height and width
            (:func:`effebm_ext.runs.data.resizing.resized`);
            None: all must have one size.
        background: ``white`` or ``black``.

    Raises:
        FileNotFoundError: there is no such folder, no image in it, or a link leads nowhere.
        ValueError: a file is refused or damaged, of another size, or in no sub-folder; a sub-folder
            holds no image, or is found twice by way of links.
    """
    paths, runs, n_others = _image_paths(folder)
    names, classes = _classes_of(folder, paths, runs) if labels else ((), None)
    images: list[np.ndarray] = []
    n_composed = n_resized = 0
    for path in paths:
        try:
            pixels, composed = _read(path, background)
            as_read = pixels
            if size is not None:
                pixels = resized(as_read, size)
        except ImportError:  # Pillow is missing; the file is not the cause
            raise
        except Exception as error:  # Pillow's readers raise a dozen kinds
            raise ValueError(f"data: {path} is not a readable image: {error}") from error
        if images and pixels.shape[:2] != images[0].shape[:2]:
            expected, got = ("x".join(map(str, p.shape[:2])) for p in (images[0], pixels))
            raise ValueError(
                f"data: expected images of one size, {expected} (height x width), got {got}: "
                f"{path}; a run that begins with --resize {expected} brings them to one"
            )
        images.append(pixels)
        n_composed += composed
        n_resized += pixels is not as_read
    changes = []
    if n_others:
        changes.append(f"{n_others} other file{'s' * (n_others > 1)} passed over")
    if runs:
        changes.append(f"the pictures of {len(runs)} run{'s' * (len(runs) > 1)} left out")
    if n_composed:
        changes.append(f"transparent pixels of {n_composed} put on {background}")
    if n_resized and size is not None:
        changes.append(f"the middle of {n_resized} resized to {size[0]} x {size[1]}")
    return Images(_stack(images), classes, tuple(changes), names)


def _suffixes() -> tuple[str, ...]:
    from PIL import Image

    known = Image.registered_extensions().items()
    return tuple(sorted(suffix for suffix, name in known if name in _FORMATS))


def _image_paths(folder: Path) -> tuple[list[Path], list[Path], int]:
    """Returns the image files; the folders of runs, in which none are looked for; and how many
    other files there are beside the image files."""
    check_folder(folder)
    suffixes, n_files = _suffixes(), 0
    paths: list[Path] = []
    runs: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(root)
        if real in seen:
            raise ValueError(f"data: {root} leads to a folder that was found before: {real}")
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        held = [name for name in folders if is_marked(Path(root, name))]
        folders[:] = [name for name in folders if name not in held]
        runs += [Path(root, name) for name in held]
        visible = [Path(root, name) for name in names if not name.startswith(".")]
        paths += [path for path in visible if path.suffix.lower() in suffixes]
        n_files += len(visible)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"data: expected a file, got a broken link or a device: {path}")
    if not paths:
        raise FileNotFoundError(
            f"data: no image files ({', '.join(suffixes)}) in {folder}, got {listing(folder)}"
        )
    return sorted(paths), runs, n_files - len(paths)


def _raise(error: OSError) -> None:
    raise error


def _classes_of(
    folder: Path, paths: list[Path], runs: list[Path]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the names of the classes and the class of every path."""
    names = [path.relative_to(folder).parts[0] for path in paths]
    if stray := [path.name for path in paths if path.parent == folder]:
        more = f" and {len(stray) - 1} more" if len(stray) > 1 else ""
        raise ValueError(
            f"data: expected every image in a sub-folder of its class in {folder}, got {stray[0]}"
            f"{more} beside them"
        )
    folders = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    of_runs = {path.relative_to(folder).parts[0] for path in runs}
    if empty := sorted(folders - set(names) - of_runs):
        raise ValueError(
            f"data: expected images in every sub-folder of {folder}, as a class without data "
            f"cannot be learnt, got none in {', '.join(empty)}"
        )
    classes, of_paths = np.unique(names, return_inverse=True)
    return tuple(map(str, classes)), of_paths.astype(np.int64)


def _read(path: Path, background: str) -> tuple[np.ndarray, bool]:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO is a photograph with previews after it
            raise ValueError(f"expected one frame, got {frames}: save each as a file of its own")
        if image.mode.startswith("I;16"):
            _check_tiff(getattr(image, "tag_v2", {}))
        if image.format == "PNG" and image.tile and image.tile[0][3] == "LA;16B":
            # Pillow would make 8 bits and three channels of them. Here it keeps all four bytes.
            image.tile = [image.tile[0]._replace(args="RGBA")]
            values = np.array(ImageOps.exif_transpose(image)).view(">u2")
            return _deep_on(background, values[..., 0], values[..., 1])
        return pixels_of(ImageOps.exif_transpose(image), background)


def _deep_on(background: str, grey: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns as :func:`pixels_of` an image of 16 bits with an alpha channel."""
    share, shown = alpha / 65535, 65535 if background == "white" else 0
    deep = (share * grey + (1 - share) * shown).round().astype(np.uint16)
    return deep, bool((alpha != 65535).any())


def _check_tiff(tags: dict[int, object]) -> None:
    """Refuses TIFF files that Pillow misreads: it reads 12 bits as 16, and ignores which end of the
    scale is black."""
    bits, black = tags.get(_BITS_PER_SAMPLE, (16,)), tags.get(_PHOTOMETRIC, _BLACK_IS_ZERO)
    if bits != (16,) or black != _BLACK_IS_ZERO:
        raise ValueError(
            f"expected TIFF of 16 bits per sample whose zero is black, got bits {bits} and "
            f"photometric interpretation {black}: scale the values to [-1, 1] and save them as .npy"
        )


def pixels_of(image: Image.Image, background: str = "white") -> tuple[np.ndarray, bool]:
    """Returns the pixels of an image, uint8 or uint16 ``(height, width)`` if it is grey, else uint8
    ``(height, width, 3)``, and whether some are transparent and show the background. An image with
    a palette is grey if all of its colours are.

    Raises:
        ValueError: its mode has no known range or is not among those that are read.
    """
    kind = _MODES.get(image.mode)
    if kind is None:
        raise ValueError(f"images of mode {image.mode} are not read: convert it to L or RGB")
    if kind == "of unknown range":
        raise ValueError(
            f"mode {image.mode} holds numbers of unknown range: scale them to [-1, 1] and save all "
            "images as one .npy array (n, 1, height, width)"
        )
    if kind == "grey of 16 bits":
        deep = np.array(image).astype(np.uint16)
        clear = deep == image.info.get("transparency", -1)
        deep[clear] = 65535 if background == "white" else 0
        return deep, bool(clear.any())
    composed = False
    if kind == "palette" or image.mode in ("LA", "RGBA") or "transparency" in image.info:
        from PIL import Image

        over = image.convert("RGBA")
        composed = over.getchannel("A").getextrema()[0] != 255
        if composed:
            image = Image.alpha_composite(Image.new("RGBA", over.size, background), over)
    if kind == "grey":
        return np.asarray(image.getchannel("R") if composed else image.convert("L")), composed
    pixels = np.asarray(image.convert("RGB"))
    is_grey = kind == "palette" and bool((pixels == pixels[..., :1]).all())
    return (pixels[..., 0] if is_grey else pixels), composed


def _stack(images: list[np.ndarray]) -> np.ndarray:
    if any(pixels.dtype == np.uint16 for pixels in images):
        images = [p if p.dtype == np.uint16 else p.astype(np.uint16) * 257 for p in images]
    if all(pixels.ndim == 2 for pixels in images):
        return np.stack(images)[:, None]
    rgb = [np.repeat(p[..., None], 3, axis=2) if p.ndim == 2 else p for p in images]
    return np.ascontiguousarray(np.stack(rgb).transpose(0, 3, 1, 2))
