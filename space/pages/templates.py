"""From a template beside this file to HTML."""

import base64
import io
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

HERE = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """Fill a template of this folder; every value is escaped, unless it is marked as safe."""
    return _template(template).render(values)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template(name)


def script(name: str) -> str:
    """A script of this folder, for `js_on_load`."""
    return (HERE / name).read_text(encoding="utf-8")


def data_uri(picture: Image.Image, form: str = "PNG", **options: object) -> str:
    """A picture as the text that an <img> shows."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
