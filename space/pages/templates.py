"""From a template beside this file to HTML."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

HERE = Path(__file__).parent


def data_uri(picture: Image.Image, form: str = "PNG", **options: object) -> str:
    """A picture as the text that an <img> shows."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# Every value is escaped, unless it is marked as safe.
_TEMPLATES = Environment(autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(HERE))
_TEMPLATES.trim_blocks = _TEMPLATES.lstrip_blocks = True
_TEMPLATES.filters["data_uri"] = data_uri


def render(template: str, **values: object) -> str:
    """Fill a template of this folder."""
    return _TEMPLATES.get_template(template).render(values)


def script(name: str) -> str:
    """A file of this folder as it is, such as a script for `js_on_load`."""
    return (HERE / name).read_text(encoding="utf-8")
