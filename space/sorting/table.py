"""Rows as a table that opens in a spreadsheet as it is, or as Parquet."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter
from pyarrow.parquet import ParquetWriter

WRITERS = {".csv": CSVWriter, ".parquet": ParquetWriter}
# Without it, Excel takes UTF-8 for the code page of its country.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What spreadsheets would run, and numbers, which are harmless (OWASP, "CSV injection").
FORMULA, NUMBER = r"^[=+\-@\t\r]", r"^[+\-]?[0-9]+([.,][0-9]+)*$"


def row_schema(keys: Iterable[str], texts: Iterable[str] = ()) -> pa.Schema:
    """Of the rows of `sort_photos`, by the keys of the models, and of more columns of text."""
    fields = [("path", pa.string())]
    for key in keys:
        fields += [(key, pa.string()), (f"{key}_confidence", pa.float64())]
    fields += [("agree", pa.bool_()), ("decision", pa.string()), ("why", pa.string())]
    return pa.schema(fields + [(text, pa.string()) for text in texts])


def write_table(file: Path, schema: pa.Schema, blocks: Iterable[pa.RecordBatch]) -> None:
    """Write a table, block by block, as CSV or Parquet by the name of the file."""
    with file.open("wb") as sink:
        if file.suffix == ".csv":
            sink.write(BYTE_ORDER_MARK)
            names = _as_text(pa.array(schema.names)).to_pylist()
            schema = pa.schema(zip(names, schema.types, strict=True))
            blocks = (pa.record_batch([*map(_as_text, block)], schema=schema) for block in blocks)
        with WRITERS[file.suffix](sink, schema) as table:
            for block in blocks:
                table.write_batch(block)


def _as_text(cells: pa.Array) -> pa.Array:
    """No formulas among texts: an apostrophe stands before what would be one."""
    if cells.type != pa.string():
        return cells
    matches = partial(pc.match_substring_regex, cells)
    formula = pc.and_not(matches(FORMULA), matches(NUMBER))
    return pc.if_else(formula, pc.binary_join_element_wise("'", cells, ""), cells)
