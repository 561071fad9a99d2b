"""Columns of a million rows by their distinct values: what a value means is worked out once, never per row."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow


def codes(column: "pyarrow.ChunkedArray | pyarrow.Array") -> tuple[np.ndarray, list[Any]]:
    """int64 [rows] number of each row's value, and the values by number; null is the last value, None."""
    import pyarrow

    array = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    if not isinstance(array, pyarrow.DictionaryArray):
        array = array.dictionary_encode()
    values = array.dictionary.to_pylist()
    return array.indices.cast(pyarrow.int64()).fill_null(len(values)).to_numpy(zero_copy_only=False), [*values, None]


def where(column: "pyarrow.ChunkedArray", holds: Callable[[Any], bool]) -> np.ndarray:
    """bool [rows]: `holds`, asked once for each distinct value."""
    numbers, values = codes(column)
    return np.array([bool(holds(value)) for value in values])[numbers]


def tuples(columns: Sequence["pyarrow.ChunkedArray"]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """int64 [rows] number of each row's tuple of values, and the distinct tuples by number."""
    combined = np.zeros(len(columns[0]), np.int64)
    encoded = [codes(column) for column in columns]
    for numbers, values in encoded:
        # Numbered anew after each column: the product of all sizes would leave 64 bits.
        combined = np.unique(combined * len(values) + numbers, return_inverse=True)[1]
    _, first = np.unique(combined, return_index=True)
    distinct = [tuple(values[numbers[row]] for numbers, values in encoded) for row in first]
    return combined, distinct


def spread(values: Sequence[Any], numbers: np.ndarray, kind: "pyarrow.DataType") -> "pyarrow.DictionaryArray":
    """The column whose row r holds values[numbers[r]]; stored once for each distinct value. None is null."""
    import pyarrow

    distinct = {value: number for number, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
    lookup = np.array([distinct.get(value, -1) for value in values] or [-1], np.int32)
    chosen = lookup[numbers]
    indices = pyarrow.array(chosen, pyarrow.int32(), mask=chosen < 0)
    return pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(list(distinct), kind))
