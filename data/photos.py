"""Read any photo file into an upright RGB picture, or say in one sentence why not."""

import io
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from data.errors import UserError

# What shops and phones produce. Formats that Pillow would hand to an external program, or
# whose decoders are rarely exercised, stay closed to uploads.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_MEGAPIXELS = 40
# Longer strips leave nothing to see at the 224 pixels that the models look at.
MAX_LENGTH = 50
# A JPEG is decoded at a half, quarter or eighth of its size where that leaves this many pixels
# a side: a 93-megapixel original then costs no memory.
DRAFT_SIDE = 512
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's own limit is a warning; the one here is stricter, and holds under threads.
Image.MAX_IMAGE_PIXELS = None


class PhotoError(UserError):
    """A file that cannot be read as a photo."""


def read_photo(source: str | Path | bytes) -> Image.Image:
    """Open a photo as people see it.

    The EXIF orientation is applied, an animation gives its first frame, 16-bit grey levels are
    scaled to 8 bits, CMYK and palettes become RGB, and transparency is laid on white.

    Args:
        source: a path, or the bytes of a file.

    Returns:
        An RGB picture at the size of the file; a JPEG of at least twice DRAFT_SIDE is smaller.

    Raises:
        PhotoError: whatever is wrong with the file.
    """
    try:
        with _opened(source) as file, Image.open(file, formats=FORMATS) as image:
            _check_cost(image)
            image.load()
            return _to_rgb(_upright(image))
    except PhotoError:
        raise
    except Exception as error:  # each decoder raises its own kinds
        raise PhotoError(
            "This file is not a photo that can be read here; please use a JPEG, PNG, WebP, AVIF, "
            "GIF, BMP or TIFF file."
        ) from error


def _opened(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise PhotoError("This file is empty.")
        return io.BytesIO(source)
    try:
        path = Path(source)
        # A pipe would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            raise PhotoError("This is not a file.")
        if not path.stat().st_size:
            raise PhotoError("This file is empty.")
        return path.open("rb")
    except FileNotFoundError as error:
        raise PhotoError("This file is not there.") from error
    except (OSError, ValueError) as error:
        raise PhotoError(f"This file cannot be read ({type(error).__name__}).") from error


def _check_cost(image: Image.Image) -> None:
    """Refuse, by the header alone, what would cost too much; set how small a JPEG is decoded."""
    if max(image.size) > MAX_LENGTH * min(image.size):
        raise PhotoError(
            f"This photo has {image.width} × {image.height} pixels; please use one that is at most "
            f"{MAX_LENGTH} times as long as it is wide."
        )
    width, height = image.size
    image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
    # All of a progressive JPEG is in memory before any of it is made smaller.
    if not image.info.get("progressive"):
        width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise PhotoError(
            f"This photo has {width * height / 1e6:.0f} megapixels; please use one of at most "
            f"{MAX_MEGAPIXELS}, or save it as a JPEG that is not progressive."
        )


def _upright(image: Image.Image) -> Image.Image:
    """Turn as EXIF says; where it is broken, leave the picture as it lies."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # each field of another type raises its own kind
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(levels: np.ndarray, mode: str) -> np.ndarray:
    """Scale integer grey levels of 16 bits, or float ones (0 to 1, or 0 to 255), to uint8."""
    float_scale = 255 if levels.max() <= 1 else 1
    scale = float_scale if mode == "F" else 255 / 65535
    return (levels * scale).clip(0, 255).astype(np.uint8)
