"""Dense codes: integers of 1 to 8 bits, one after another without gaps.

Code i takes the bits from i * bits on of the byte string, least significant first, as numpy's
`packbits(bitorder="little")` numbers them; unused bits of the last byte are zero.
"""

from __future__ import annotations

import numpy as np

from ..errors import ExportError


def packed_bytes(count: int, bits: int) -> int:
    """How many bytes `count` codes take."""
    return -(-count * bits // 8)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Write codes densely.

    Args:
        codes: whole numbers from 0 to 2^bits - 1, of any shape, read row by row.
        bits: width of a code, 1 to 8.

    Returns:
        Shape (ceil(count * bits / 8),), uint8.

    Raises:
        ExportError: a code needs more bits.
    """
    flat = np.ascontiguousarray(codes, dtype=np.uint8).reshape(-1, 1)
    if not 1 <= bits <= 8 or (flat >> bits if bits < 8 else flat[:0]).any():
        raise ExportError(f"A code does not fit in {bits} bits.", "Round the weight again.")
    return np.packbits(
        np.unpackbits(flat, axis=1, count=bits, bitorder="little"), bitorder="little"
    )


def unpack(data: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read what `pack` wrote.

    Args:
        data: uint8, one dimension.
        bits: width of a code, 1 to 8.
        shape: of the codes.

    Returns:
        The codes, uint8.

    Raises:
        ExportError: there are more or fewer bytes than the codes take.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if not 1 <= bits <= 8 or data.shape != (packed_bytes(count, bits),):
        raise ExportError(
            f"{data.size} bytes are not {count} codes of {bits} bits.",
            "The file is damaged: export again.",
        )
    single = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(single, axis=1, bitorder="little").reshape(shape)


def pack_rows(codes: np.ndarray, bits: int, align: int = 1) -> np.ndarray:
    """Write each row's codes densely, padded to a multiple of `align` bytes.

    Args:
        codes: whole numbers from 0 to 2^bits - 1, shape (rows, columns), uint8.
        bits: width of a code, 1 to 8.
        align: bytes.

    Returns:
        Shape (rows, bytes), uint8.
    """
    rows, columns = codes.shape
    single = np.unpackbits(codes[..., None], axis=2, count=bits, bitorder="little")
    filling = ((0, 0), (0, -columns * bits % (8 * align)))
    single = np.pad(single.reshape(rows, columns * bits), filling)
    return np.packbits(single, axis=1, bitorder="little")


def pack_words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Write each row's codes densely, padded to 32-bit words: shape (rows, words), int32."""
    return pack_rows(codes, bits, align=4).view("<i4")
