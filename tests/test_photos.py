"""Reading photos: as people see them, or one sentence that says why not."""

import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.photos import PhotoError, read_photo
from tests.odd_files import broken_exif

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
    assert 512 <= photo.width <= 1125 and photo.width / photo.height == pytest.approx(1.5, 0.01)


def test_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = _file(Image.new("1", (13000, 13000)), "PNG")
    with pytest.raises(PhotoError, match="169 megapixels"):
        read_photo(bomb)


@pytest.mark.parametrize(
    "content",
    [
        b"just some text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1",
        _file(_halves(), "JPEG")[:400],
        _file(_halves(), "PNG")[:60],
        b"GIF89a" + b"\xff" * 40,
        b"BM" + b"\x00" * 40,
    ],
    ids=["text", "svg", "heic", "cut jpeg", "cut png", "broken gif", "broken bmp"],
)
def test_what_is_not_a_photo_is_answered_in_one_sentence(content: bytes) -> None:
    with pytest.raises(PhotoError, match=r"^This file is not a photo .*\.$"):
        read_photo(content)


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    for source, reason in {
        tmp_path / "deleted.jpg": "not there",
        tmp_path / "empty.jpg": "empty",
        tmp_path / "pipe.jpg": "not a file",
        tmp_path: "not a file",
        "zero\0byte.jpg": "cannot be read",
        b"": "empty",
    }.items():
        with pytest.raises(PhotoError, match=reason):
            read_photo(source)


def _strip(width: int, height: int) -> bytes:
    return _file(Image.new("RGB", (width, height), RED), "PNG")


def test_strip_is_refused_by_its_header() -> None:
    assert read_photo(_strip(500, 10)).size == (500, 10)
    for size in ((501, 10), (10, 501), (1000, 1)):
        # Cut before the pixels: it was not decoded.
        with pytest.raises(PhotoError, match=f"{size[0]} × {size[1]} pixels"):
            read_photo(_strip(*size)[:60])


def test_progressive_jpeg_is_limited_as_a_whole() -> None:
    """Drafted or not, the decoder holds all of it (6 bytes a pixel)."""
    large = _file(Image.new("L", (8000, 5100)), "JPEG", progressive=True)
    with pytest.raises(PhotoError, match=r"41 megapixels.* not progressive"):
        read_photo(large)
    assert read_photo(_file(Image.new("L", (8000, 5100)), "JPEG")).size == (1000, 638)


def test_refusals_cost_no_memory() -> None:
    """The peak of a process that is shown each of them, against one that is shown none."""
    files = [
        _file(Image.new("RGB", (8000, 6000)), "JPEG", progressive=True),
        _file(Image.new("1", (9000, 9000)), "PNG"),
        _strip(200_000, 100),
    ]
    code = """
import sys
from pathlib import Path
from data.photos import PhotoError, read_photo
content, refused = sys.stdin.buffer.read(), False
try:
    read_photo(content or b"")
except PhotoError:
    refused = True
# Its own: what getrusage says begins with the peak of the process that started it.
print(refused, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    peaks = []
    for content in (b"", *files):
        run = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True)
        refused, peak = run.stdout.split()
        assert refused == b"True", run.stderr
        peaks.append(int(peak))
    assert max(peaks[1:]) < 1.1 * peaks[0]


@pytest.mark.parametrize(("tag", "kind"), [(0, 2), (2, 1), (2, 7), (6, 2)])
def test_broken_exif_is_no_reason_to_refuse(tag: int, kind: int) -> None:
    """A rotated JPEG with a field for GPS of the wrong type."""
    photo = read_photo(_file(_halves(), "JPEG", exif=broken_exif(tag, kind)))
    assert photo.size == (32, 64) and _about(photo.getpixel((16, 8)), RED)
    assert read_photo(_file(_halves(), "JPEG", exif=b"Exif\0\0nonsense")).size == (64, 32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_whatever_a_file_does_is_a_picture_or_a_sentence(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = _file(_halves("P" if kind == "GIF" else "RGB"), kind, exif=exif)
    rng = np.random.default_rng(len(whole))
    refused = 0
    for _ in range(300):
        content = bytearray(
            whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.2 else whole
        )
        for place in rng.integers(0, len(content), rng.integers(0, 4)):
            content[place] = rng.integers(256)
        try:
            picture = read_photo(bytes(content))
            assert picture.mode == "RGB" and min(picture.size) > 0
        except PhotoError as error:
            assert str(error).count(".") == 1 and str(error).endswith(".")
            refused += 1
    assert 0 < refused < 300


def test_warning_filters_stay_as_they_are_under_threads() -> None:
    before, content = list(warnings.filters), _strip(3000, 1000)
    seen = []
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(read_photo, [content] * 8):
            seen.append(list(warnings.filters))
    assert all(filters == before for filters in seen)
