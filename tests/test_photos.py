"""Reading photos: as people see them, or one sentence that says why not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.photos import PhotoError, read_photo

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (64, 32), RED)
    image.paste(BLUE, (32, 0, 64, 32))
    return image.convert(mode)


def _about(pixel: tuple[int, ...], colour: tuple[int, ...], tolerance: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= tolerance


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "CMYK"),
        ("AVIF", "RGB"),
    ],
)
def test_every_format_becomes_the_same_rgb_photo(kind: str, mode: str) -> None:
    photo = read_photo(_file(_halves(mode), kind))
    assert (photo.mode, photo.size) == ("RGB", (64, 32))
    assert _about(photo.getpixel((8, 16)), RED, 40)
    assert _about(photo.getpixel((56, 16)), BLUE, 40)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    photo = read_photo(_file(_halves(), "JPEG", exif=exif))
    assert photo.size == (32, 64)
    assert _about(photo.getpixel((16, 8)), RED) and _about(photo.getpixel((16, 56)), BLUE)


def test_transparency_is_laid_on_white() -> None:
    hidden = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (*RED, 128))
    assert read_photo(_file(hidden, "PNG")).getpixel((4, 4)) == WHITE
    assert _about(read_photo(_file(half, "PNG")).getpixel((4, 4)), (255, 127, 127), 2)


def test_transparent_palette_colour_is_laid_on_white() -> None:
    file = _file(Image.new("P", (8, 8), 0), "PNG", transparency=0)
    assert read_photo(file).getpixel((4, 4)) == WHITE


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    file = _file(frames[0], kind, save_all=True, append_images=frames[1:])
    assert _about(read_photo(file).getpixel((8, 8)), RED, 20)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_levels_are_scaled(kind: str) -> None:
    levels = np.full((8, 8), 32768, dtype=np.uint16)
    assert _about(read_photo(_file(Image.fromarray(levels), kind)).getpixel((4, 4)), (127,) * 3, 2)


def test_float_levels_from_0_to_1_are_scaled() -> None:
    levels = np.full((8, 8), 0.5, dtype=np.float32)
    photo = read_photo(_file(Image.fromarray(levels), "TIFF"))
    assert _about(photo.getpixel((4, 4)), (127,) * 3, 2)


def test_huge_jpeg_is_decoded_small() -> None:
    photo = read_photo(_file(Image.new("RGB", (9000, 6000), RED), "JPEG"))
    assert 1024 <= photo.width <= 2250 and photo.width / photo.height == pytest.approx(1.5, 0.01)


def test_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = _file(Image.new("1", (13000, 13000)), "PNG")
    with pytest.raises(PhotoError, match="169 megapixels"):
        read_photo(bomb)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just some text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1",
        _file(_halves(), "JPEG")[:400],
        _file(_halves(), "PNG")[:60],
        b"GIF89a" + b"\xff" * 40,
        b"BM" + b"\x00" * 40,
    ],
    ids=["empty", "text", "svg", "heic", "cut jpeg", "cut png", "broken gif", "broken bmp"],
)
def test_what_is_not_a_photo_is_answered_in_one_sentence(content: bytes) -> None:
    with pytest.raises(PhotoError, match=r"^This file is not a photo .*\.$"):
        read_photo(content)


def test_missing_file_is_a_photo_error(tmp_path: Path) -> None:
    with pytest.raises(PhotoError):
        read_photo(tmp_path / "missing.jpg")
