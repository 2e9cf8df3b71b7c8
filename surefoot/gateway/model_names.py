"""Validate the names of registered models, which become names of files and directories."""

import re

_MODEL = re.compile(r"[^./:\\\x00-\x1f\x7f][^/:\\\x00-\x1f\x7f]*")


_LONGEST_NAME = 200  # bytes; a file name holds 255


def is_model_name(name: str) -> bool:
    """Whether a registered model of this name can have a file and a directory of its own."""
    return _MODEL.fullmatch(name) is not None and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME
