"""Read any photo file into an upright RGB picture, or say in one sentence why not."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

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
# Pillow's own limit is a warning; the one here is stricter, and holds under threads.
Image.MAX_IMAGE_PIXELS = None


class PhotoError(UserError):
    """A file that cannot be read as a photo."""


def read_photo(source: str | Path | bytes) -> Image.Image:
    """Open a path, or the bytes of a file, as people see the photo.

    The EXIF orientation is applied, an animation gives its first frame, 16-bit grey levels are
    scaled to 8 bits, CMYK and palettes become RGB, and transparency is laid on white. The size is
    that of the file; a JPEG of at least twice DRAFT_SIDE is smaller.

    Raises:
        PhotoError: whatever is wrong with the file.
    """
    try:
        with open_photo(source) as file, Image.open(file, formats=FORMATS) as image:
            _check_cost(image)
            image.load()
            # A broken field of EXIF raises whatever it does: before the turn, or after it.
            with suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except PhotoError:
        raise
    except Exception as error:  # each decoder raises its own kinds
        raise PhotoError(
            "This file is not a photo that can be read here; please use a JPEG, PNG, WebP, AVIF, "
            "GIF, BMP or TIFF file."
        ) from error


@contextmanager
def reading_faults() -> Iterator[None]:
    """Raise PhotoError for what disks, archives and buckets raise, which is dozens of kinds."""
    try:
        yield
    except PhotoError:
        raise
    except FileNotFoundError as error:
        raise PhotoError("This file is not there.") from error
    except Exception as error:
        locked = isinstance(error, RuntimeError) and "password" in str(error)
        reason = "it needs a password" if locked else type(error).__name__
        raise PhotoError(f"This file cannot be read ({reason}).") from error


@reading_faults()
def open_photo(source: str | Path | bytes) -> BinaryIO:
    """Open a path, or the bytes of a file, that is not empty; or raise PhotoError."""
    is_content = isinstance(source, bytes)
    size = len(source) if is_content else Path(source).stat().st_size
    # A pipe would be waited for.
    if not is_content and not Path(source).is_file():
        raise PhotoError("This is not a file.")
    if not size:
        raise PhotoError("This file is empty.")
    return io.BytesIO(source) if is_content else Path(source).open("rb")


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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        levels = np.asarray(image)
        # Integers are of 16 bits; floats from 0 to 1, or from 0 to 255.
        float_scale = 255 if levels.max() <= 1 else 1
        scale = float_scale if image.mode == "F" else 255 / 65535
        image = Image.fromarray((levels * scale).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
