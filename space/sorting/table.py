"""Rows as a table that opens in a spreadsheet as it is, or as Parquet."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter
from pyarrow.parquet import ParquetWriter

SUFFIXES = (".csv", ".parquet")
# Without it, Excel takes UTF-8 for the code page of its country.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What spreadsheets would run, and numbers, which are harmless (OWASP, "CSV injection").
FORMULA, NUMBER = r"^[=+\-@\t\r]", r"^[+\-]?[0-9]+([.,][0-9]+)*$"


def row_schema(keys: Iterable[str]) -> pa.Schema:
    """Of the rows of `space.sorting.batches.sort_photos`, by the keys of the models."""
    fields = {"path": pa.string()}
    for key in keys:
        fields |= {key: pa.string(), f"{key}_confidence": pa.float64()}
    return pa.schema(fields | {"agree": pa.bool_(), "decision": pa.string(), "why": pa.string()})


def write_table(file: Path, schema: pa.Schema, blocks: Iterable[pa.RecordBatch]) -> None:
    """Write a table, block by block, as CSV or Parquet by the name of the file."""
    if file.suffix == ".parquet":
        with ParquetWriter(file, schema) as table:
            for block in blocks:
                table.write_batch(block)
        return
    names = _as_text(pa.array(schema.names)).to_pylist()
    schema = pa.schema(zip(names, schema.types, strict=True))
    with file.open("wb") as sink:
        sink.write(BYTE_ORDER_MARK)
        with CSVWriter(sink, schema) as table:
            for block in blocks:
                columns = [
                    _as_text(column) if column.type == pa.string() else column for column in block
                ]
                table.write_batch(pa.record_batch(columns, schema=schema))


def _as_text(cells: pa.Array) -> pa.Array:
    """Cells that are no formulas: an apostrophe stands before what would be one."""
    formula = pc.and_not(
        pc.match_substring_regex(cells, FORMULA), pc.match_substring_regex(cells, NUMBER)
    )
    return pc.if_else(formula, pc.binary_join_element_wise("'", cells, ""), cells)
