"""Files attached to a .tflite file: a ZIP archive behind the flatbuffer, where TFLite's metadata looks for labels."""

from __future__ import annotations

import io
import zipfile


def carried(source: bytes, target: bytes) -> bytes:
    """The target with the files that are attached to the source, as they are there."""
    if not zipfile.is_zipfile(io.BytesIO(source)):
        return target
    out = io.BytesIO(target)
    with zipfile.ZipFile(io.BytesIO(source)) as given, zipfile.ZipFile(out, "a") as taken:
        for entry in given.infolist():
            # A description of its own: writing one enters its new place into it.
            described = zipfile.ZipInfo(entry.filename, entry.date_time)
            described.compress_type, described.external_attr = entry.compress_type, entry.external_attr
            taken.writestr(described, given.read(entry))
    return out.getvalue()
