"""Pictures from files and into files."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image, ImageOps

from cnn_jax.images.checks import check_floats
from cnn_jax.images.convert import from_grey, from_rgb, grey_to_rgb, rgb_to_grey, to_grey, to_rgb

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""The kinds of files that `read` takes, told by their content and not by their names."""

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".ppm"),
)
"""The usual suffixes of such files."""

# What pillow's decoders raise on broken data, besides warning of sizes that only an attack has.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)

_WRITTEN = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


def read(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    background: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Read a picture file as floats in 0..1, `[h, w, 1]` for grey and `[h, w, 3]` for colour.

    PNG, JPEG, BMP, GIF (the first frame), TIFF (the first page), WebP and PPM are read. Black and
    white, 8-bit and 16-bit grey, palettes and other colour spaces become grey or colour. Colour of
    16 bits a channel is read with 8. The orientation noted by a camera (EXIF) is respected.

    Args:
        path: The file.
        channels: 1 or 3 to have the picture as grey or as colour whatever the file has; by default
            as the file has it.
        size: `(height, width)` to resize to, in the manner of `resize`.
        background: What lies behind transparent pixels: a grey level or red, green and blue, all in
            0..1. Without it a file with transparent pixels is an error.

    Raises:
        OSError: the file cannot be read: `FileNotFoundError`, `PermissionError` and so on.
        ValueError: the file is no picture, is broken or cut off, has more pixels than pillow's
            `Image.MAX_IMAGE_PIXELS` or is transparent. The message names the file.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"read: channels must be 1, 3 or None, got {channels!r}")
    data = Path(path).read_bytes()
    with _open(path, data) as opened:
        picture = _pixels(path, _upright(path, opened), background)
    if channels == 1 and picture.shape[-1] == 3:
        picture = rgb_to_grey(picture)
    if channels == 3 and picture.shape[-1] == 1:
        picture = grey_to_rgb(picture)
    return picture if size is None else resize(picture, size)


def read_batch(
    paths: Iterable[str | os.PathLike[str]],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    background: float | Sequence[float] | None = None,
) -> np.ndarray:
    """Read picture files into one array `[n, h, w, c]`; the arguments are `read`'s.

    Raises:
        OSError: as `read`.
        ValueError: as `read`, there are no paths, or two pictures differ in shape: then give
            `size` or `channels`.
    """
    pictures: list[np.ndarray] = []
    first = None
    for path in paths:
        picture = read(path, channels=channels, size=size, background=background)
        first = path if first is None else first
        if pictures and picture.shape != pictures[0].shape:
            raise ValueError(
                f"{os.fspath(path)}: the picture is {_form(picture.shape)}, but "
                f"{os.fspath(first)} is {_form(pictures[0].shape)}; pass size or channels"
            )
        pictures.append(picture)
    if not pictures:
        raise ValueError("read_batch: paths must name at least one file, got none")
    return np.stack(pictures)


def write(
    path: str | os.PathLike[str], picture: Any, *, maximum: int = 255, overwrite: bool = False
) -> None:
    """Write one picture `[h, w, 1]` or `[h, w, 3]` of floats in 0..1, in the suffix's format.

    `.png`, `.bmp` and `.tif` lose nothing but the rounding to levels; `.jpg` loses more. `maximum`
    is 255, or 65535 for 16-bit grey in PNG and TIFF, or 1 for black and white in PNG, BMP and TIFF.
    The file appears whole or not at all.

    Raises:
        FileExistsError: the file is there, and `overwrite` is False.
        OSError: the folder is not there, not writable or full.
        ValueError: the suffix, the picture's shape or values, or `maximum` is not one of these.
    """
    target = Path(path)
    kind = _WRITTEN.get(target.suffix.lower())
    if kind is None:
        raise ValueError(
            f"write: path must end in one of {', '.join(_WRITTEN)}, got {str(target)!r}"
        )
    encoded = _encode(kind, _levels(kind, picture, maximum))
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: pass overwrite=True to replace it")
    partial = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        partial.write_bytes(encoded)
        os.replace(partial, target)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from None
    finally:
        partial.unlink(missing_ok=True)


def resize(pictures: Any, size: tuple[int, int]) -> np.ndarray:
    """Resize pictures `[*batch, h, w, c]` of floats in 0..1 to `size`, `(height, width)`.

    Numbers in between are interpolated linearly; where a picture shrinks, all its pixels count
    (pillow's bilinear filter). The proportions of height and width are not kept.

    >>> import numpy as np
    >>> from cnn_jax import images
    >>> images.resize(np.array([[[0.0], [1.0]]]), (1, 4))[..., 0]
    array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    x = np.asarray(check_floats("resize", pictures), np.float32)
    height, width = size
    if x.ndim < 3 or 0 in x.shape[-3:]:
        raise ValueError(f"resize: pictures must be [*batch, h, w, c], got shape {x.shape}")
    if height < 1 or width < 1:
        raise ValueError(f"resize: size must be (height, width), both at least 1, got {size}")
    planes = np.moveaxis(x, -1, -3).reshape(-1, *x.shape[-3:-1])
    resized = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in planes
    ]
    shaped = np.stack(resized).reshape(*x.shape[:-3], x.shape[-1], height, width)
    return np.clip(np.moveaxis(shaped, -3, -1), 0, 1)


def _open(path: str | os.PathLike[str], data: bytes) -> Image.Image:
    with _decoding(path):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise _too_large(path, f"{image.height} x {image.width}")
    return image


def _upright(path: str | os.PathLike[str], image: Image.Image) -> Image.Image:
    """Decode the pixels and turn them as the camera's note says."""
    with _decoding(path):
        image.load()
        return ImageOps.exif_transpose(image)


@contextmanager
def _decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one form what pillow says of a file that is no picture that it can decode."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))
        raise _too_large(path, found[0] if found else "too many") from None
    except Image.UnidentifiedImageError:
        raise ValueError(
            f"{os.fspath(path)}: not a picture: expected one of {', '.join(FORMATS)}"
        ) from None
    except _BROKEN as error:
        raise ValueError(
            f"{os.fspath(path)}: the picture is broken: {error}; expected a whole file in one of "
            f"the formats {', '.join(FORMATS)}"
        ) from None


def _too_large(path: str | os.PathLike[str], pixels: str) -> ValueError:
    return ValueError(
        f"{os.fspath(path)}: the picture is too large: it claims {pixels} pixels; expected at most "
        f"{Image.MAX_IMAGE_PIXELS} (PIL.Image.MAX_IMAGE_PIXELS)"
    )


def _pixels(
    path: str | os.PathLike[str], image: Image.Image, background: float | Sequence[float] | None
) -> np.ndarray:
    """Return the picture as floats, with what is transparent laid on the background."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        levels = np.asarray(image)
        if levels.size and (levels.min() < 0 or levels.max() > 65535):
            raise ValueError(f"{os.fspath(path)}: levels must be in 0..65535, the picture has more")
        return from_grey(levels, 65535)
    if image.mode == "F":
        raise ValueError(
            f"{os.fspath(path)}: expected whole-numbered levels, the picture has floats"
        )
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La") or (image.mode == "L" and "transparency" in image.info)
        layers = np.asarray(image.convert("LA" if grey else "RGBA"))
        return _lay(path, layers, background)
    if image.mode in ("1", "L"):
        return from_grey(np.asarray(image.convert("L")))
    return from_rgb(np.asarray(image.convert("RGB")))


def _lay(
    path: str | os.PathLike[str], layers: np.ndarray, background: float | Sequence[float] | None
) -> np.ndarray:
    colour = layers[..., :-1].astype(np.float32) / np.float32(255)
    alpha = layers[..., -1:].astype(np.float32) / np.float32(255)
    if (alpha == 1).all():
        return colour
    if background is None:
        raise ValueError(
            f"{os.fspath(path)}: the picture has transparent pixels: pass background, such as 1.0 "
            "for white"
        )
    behind = np.atleast_1d(np.asarray(background, np.float32))
    if behind.shape not in ((1,), (3,)) or not ((behind >= 0) & (behind <= 1)).all():
        raise ValueError(
            f"read: background must be one number or three numbers in 0..1, got {background!r}"
        )
    if behind.shape == (3,) and colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, axis=-1)
    return colour * alpha + behind * (1 - alpha)


def _levels(kind: str, picture: Any, maximum: int) -> Image.Image:
    x = np.asarray(check_floats("write", picture))
    if x.ndim != 3 or x.shape[-1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"write: picture must be [h, w, 1] or [h, w, 3], got shape {x.shape}")
    if x.shape[-1] == 3 and maximum == 255:
        return Image.fromarray(to_rgb(x))
    if x.shape[-1] == 1 and maximum == 255:
        return Image.fromarray(to_grey(x))
    if x.shape[-1] == 1 and maximum == 65535 and kind in ("PNG", "TIFF"):
        return Image.fromarray(to_grey(x, 65535))
    if x.shape[-1] == 1 and maximum == 1 and kind != "JPEG":
        return Image.fromarray(to_grey(x, 1).astype(bool))
    raise ValueError(
        f"write: maximum must be 255, or for grey also 65535 (PNG, TIFF) or 1 (not JPEG), "
        f"got {maximum!r} for {x.shape[-1]} channels in {kind}"
    )


def _encode(kind: str, image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def _form(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
