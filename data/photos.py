"""Read any photo file into an upright RGB picture, or say in one sentence why not."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# What shops and phones produce. Formats that Pillow would hand to an external program, or
# whose decoders are rarely exercised, stay closed to uploads.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_MEGAPIXELS = 40
# A JPEG is decoded at a half, quarter or eighth of its size where that leaves this many pixels
# a side: the models look at 224, and a 93-megapixel original then costs no memory.
DRAFT_SIDE = 1024

# Pillow has no common ancestor for a broken file; these are what its decoders raise.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    Image.DecompressionBombError,
)


class PhotoError(ValueError):
    """A file that cannot be read as a photo; the text is one sentence for the user."""


def read_photo(source: str | Path | bytes, draft_side: int = DRAFT_SIDE) -> Image.Image:
    """Open a photo as people see it.

    The EXIF orientation is applied, an animation gives its first frame, 16-bit grey levels are
    scaled to 8 bits, CMYK and palettes become RGB, and transparency is laid on white.

    Args:
        source: a path, or the bytes of a file.
        draft_side: how many pixels a side are enough.

    Returns:
        An RGB image, loaded, at the size of the file (a JPEG of at least twice `draft_side` is
        decoded smaller, and still holds as many pixels a side).

    Raises:
        PhotoError: the file is not a photo, is broken, or has more than 40 megapixels.
    """
    try:
        with (
            # Pillow warns of a bomb at 89 megapixels; the limit below is stricter.
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
            ) as image,
        ):
            image.draft("RGB", (draft_side, draft_side))
            megapixels = image.width * image.height / 1e6
            if megapixels > MAX_MEGAPIXELS:
                raise PhotoError(
                    f"This photo has {megapixels:.0f} megapixels; please use one of at most "
                    f"{MAX_MEGAPIXELS}, or save it as JPEG."
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except PhotoError:
        raise
    except _BROKEN as error:
        raise PhotoError(
            "This file is not a photo that can be read here; please use a JPEG, PNG, WebP, AVIF, "
            "GIF, BMP or TIFF file."
        ) from error


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
