"""Files that shops and phones produce, and that decoders stumble over."""

import struct
from pathlib import Path

from PIL import Image

from data.labelled import SAMPLE

# The name of each, and what is said of it; nothing, where it is answered as a photo.
ODD = [("strip.png", "1000 × 1 pixels"), ("turned.jpg", ""), ("changed.avif", "not a photo")]


def write_odd_file(folder: Path, name: str) -> Path:
    """One of ODD: a strip, a rotated JPEG with a broken field of EXIF, a changed AVIF."""
    file, photo = folder / name, Image.open(min(SAMPLE.glob("*/*.jpg")))
    if name == "strip.png":
        photo = Image.new("RGB", (1000, 1))
    photo.save(file, **({"exif": broken_exif(0, 2)} if name == "turned.jpg" else {}))
    if name == "changed.avif":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    return file


def broken_exif(tag: int, kind: int) -> bytes:
    """EXIF that turns a photo by 90°, with a field for GPS of a type that it never has."""
    fields = struct.pack("<HHHII", 2, 0x0112, 3, 1, 6) + struct.pack("<HHIII", 0x8825, 4, 1, 38, 0)
    gps = struct.pack("<HHHI4sI", 1, tag, kind, 4, b"\1\2\3\0", 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + fields + gps
