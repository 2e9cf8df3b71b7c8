"""Define the layout of the route table in shared memory: numbers such as the generation, then JSON documents."""

import mmap

NUMBERS_AREA_BYTES = 4096
"""Numbers at the beginning of the shared memory [bytes]; documents come after them."""


MAX_DOCUMENT_BYTES = 1 << 20
"""Room for one document [bytes]."""


GENERATION_INDEX = 0
"""Place of the generation among the numbers."""


def read_document(memory: mmap.mmap, place: int) -> bytes:
    """Give the bytes of one document in shared memory."""
    start = NUMBERS_AREA_BYTES + place * MAX_DOCUMENT_BYTES
    length = int.from_bytes(memory[start : start + 8], "little")
    return memory[start + 8 : start + 8 + min(length, MAX_DOCUMENT_BYTES)]
