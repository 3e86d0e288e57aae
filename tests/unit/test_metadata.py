from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema
from making import artifact, plan, tensor
from tflite_networks import Network

from edgebuild.core.delivery import About
from edgebuild.core.metadata import Content, InputDescription, Metadata, OutputDescription
from edgebuild.core.settings import Preprocess
from edgebuild.emit.metadata.describing import describe
from edgebuild.emit.metadata.reading import read
from edgebuild.emit.metadata.writing import packed, with_metadata
from edgebuild.errors import StepError, UsageError
from edgebuild.flatbuffer.inspecting import inspect

LABELS = tuple(f"word {number}" for number in range(12))
WORDS = Metadata(
    name="words",
    text="Twelve words in a second of sound.",
    version="1.2",
    author="Ann",
    license="MIT",
    inputs=(InputDescription(name="mfcc", text="features", mean=(1.5,), std=(2.0,), low=(-128.0,), high=(127.0,)),),
    outputs=(OutputDescription(name="scores", labels=LABELS),),
)
# Runs a file on inputs drawn with a seed and writes its outputs; in a child, as every interpreter.
_RUN = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
opened = Interpreter(sys.argv[1])
opened.allocate_tensors()
(given,), (made,) = opened.get_input_details(), opened.get_output_details()
rng = np.random.default_rng(0)
rows = []
for _ in range(20):
    opened.set_tensor(given["index"], rng.integers(-128, 128, given["shape"]).astype(given["dtype"]))
    opened.invoke()
    rows.append(opened.get_tensor(made["index"]).tolist())
print(json.dumps([sorted(opened.get_signature_list()), rows]))
"""


@pytest.fixture
def words(assets: Path) -> bytes:
    return (assets / "kws" / "reference_int8.tflite").read_bytes()


def _outputs(data: bytes, folder: Path) -> Any:
    path = folder / "run.tflite"
    path.write_bytes(data)
    return json.loads(subprocess.run([sys.executable, "-c", _RUN, path], capture_output=True, check=True).stdout)


class _Table:
    """A table of a flatbuffer, read by slot: nothing of edgebuild's is between the bytes and the test."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        self._vtable = place - struct.unpack_from("<i", data, place)[0]
        self._size = struct.unpack_from("<H", data, self._vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _field(self, slot: int) -> int:
        entry = 4 + 2 * slot
        inside = struct.unpack_from("<H", self._data, self._vtable + entry)[0] if entry < self._size else 0
        return self._place + inside if inside else 0

    def _target(self, slot: int) -> int:
        place = self._field(slot)
        assert place, f"slot {slot} is absent"
        return place + int(struct.unpack_from("<I", self._data, place)[0])

    def text(self, slot: int) -> str:
        place = self._target(slot)
        size = struct.unpack_from("<I", self._data, place)[0]
        return self._data[place + 4 : place + 4 + size].decode()

    def byte(self, slot: int) -> int:
        place = self._field(slot)
        return self._data[place] if place else 0

    def table(self, slot: int) -> _Table:
        return _Table(self._data, self._target(slot))

    def tables(self, slot: int) -> list[_Table]:
        place = self._target(slot)
        count = struct.unpack_from("<I", self._data, place)[0]
        starts = range(place + 4, place + 4 + 4 * count, 4)
        return [_Table(self._data, start + struct.unpack_from("<I", self._data, start)[0]) for start in starts]

    def floats(self, slot: int) -> tuple[float, ...]:
        place = self._target(slot)
        count = struct.unpack_from("<I", self._data, place)[0]
        return struct.unpack_from(f"<{count}f", self._data, place + 4)


def test_fields_lie_where_metadata_schema_fbs_puts_them() -> None:
    """Slots counted by hand in metadata_schema.fbs; tflite-support 0.4.4 reads the same from these bytes."""
    data = packed(WORDS)
    assert data[4:8] == b"M001"
    model = _Table.root(data)
    assert [model.text(slot) for slot in (0, 1, 2, 4, 5, 7)] == ["words", WORDS.text, "1.2", "Ann", "MIT", "1.0.0"]
    (graph,) = model.tables(3)
    (given,), (made,) = graph.tables(2), graph.tables(3)
    assert (given.text(0), given.text(1)) == ("mfcc", "features")
    # Content: a union of type 1, FeatureProperties.
    assert given.table(3).byte(0) == 1
    (unit,) = given.tables(4)
    # ProcessUnit: a union of type 1, NormalizationOptions of mean and std.
    assert (unit.byte(0), unit.table(1).floats(0), unit.table(1).floats(1)) == (1, (1.5,), (2.0,))
    # Stats: max before min.
    assert (given.table(5).floats(0), given.table(5).floats(1)) == ((127.0,), (-128.0,))
    (labels,) = made.tables(6)
    # AssociatedFile: of type 2, TENSOR_AXIS_LABELS.
    assert (made.text(0), labels.text(0), labels.byte(2)) == ("scores", "labels.txt", 2)


def test_an_image_says_its_colours() -> None:
    image = InputDescription(name="image", content=Content.RGB, mean=(127.5,), std=(127.5,))
    data = packed(msgspec.structs.replace(WORDS, inputs=(image,)))
    (given,) = _Table.root(data).tables(3)[0].tables(2)
    # Content: a union of type 2, ImageProperties, whose colour space 1 is RGB.
    assert (given.table(3).byte(0), given.table(3).table(1).byte(0)) == (2, 1)


def test_what_is_written_is_read_back(words: bytes) -> None:
    assert read(with_metadata(words, WORDS), "words") == WORDS
    assert read(words, "words") is None


def test_what_tflite_support_wrote_is_read(assets: Path) -> None:
    """The published MobileNet carries metadata that Google's own tool wrote."""
    found = read((assets / "edgetpu" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes(), "mobilenet")
    assert found is not None
    assert found.name == "ImageClassifier"
    (image,), (scores,) = found.inputs, found.outputs
    assert (image.content, image.mean, image.std) == (Content.RGB, (127.5,), (127.5,))
    assert (len(scores.labels), scores.labels[:2]) == (1001, ("background", "tench, Tinca tinca"))


def test_an_artifact_with_metadata_computes_what_it_did(words: bytes, tmp_path: Path) -> None:
    assert _outputs(with_metadata(words, WORDS), tmp_path) == _outputs(words, tmp_path)


def test_signatures_and_other_entries_are_kept(tmp_path: Path) -> None:
    network = Network()
    a, b = network.tensor("a", [1, 4]), network.tensor("b", [1, 4])
    network.operator(schema.BuiltinOperator.RELU, [a], [b])
    network.signature("serving_default", {"x": a}, {"y": b})
    data = network.packed([a], [b])
    described = Metadata(name="n", inputs=(InputDescription(name="x"),), outputs=(OutputDescription(name="y"),))
    found = inspect(with_metadata(data, described), "n")
    assert (found.ends, found.metadata) == (inspect(data, "n").ends, ("TFLITE_METADATA",))
    assert found.doubts == ()


def test_entries_of_others_stay_and_one_s_own_is_replaced(words: bytes) -> None:
    once = with_metadata(words, WORDS)
    assert inspect(once, "words").metadata == ("min_runtime_version", "TFLITE_METADATA")
    assert with_metadata(once, WORDS) == once
    again = with_metadata(once, msgspec.structs.replace(WORDS, author="Ben"))
    assert (read(again, "words") or WORDS).author == "Ben"
    assert len(again) == len(once)


def test_labels_are_stored_uncompressed_in_an_archive_behind_the_file(words: bytes) -> None:
    data = with_metadata(words, WORDS)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(entry).decode().splitlines() == list(LABELS)
        assert archive.testzip() is None
    # Offsets count from the file's first byte, as readers that map the file want them.
    assert data[entry.header_offset : entry.header_offset + 4] == b"PK\x03\x04"
    assert inspect(data, "words").sections["appended"] > len("".join(LABELS))


def test_the_entry_is_aligned_as_the_schema_wants_data(words: bytes) -> None:
    data = with_metadata(words, WORDS)
    model: Any = schema.Model.GetRootAs(data, 0)
    entry = next(
        model.Metadata(i) for i in range(model.MetadataLength()) if model.Metadata(i).Name() == b"TFLITE_METADATA"
    )
    assert data.find(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()) % 16 == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "describe 0 inputs and 1 outputs, the graph has 1 and 1"),
        ({"outputs": (OutputDescription(name="scores", labels=("a", "b")),)}, "There are 2 of them"),
        ({"outputs": (OutputDescription(name="scores", labels=("a\nb", *LABELS[1:])),)}, "more than a line"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(words: bytes, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_metadata(words, msgspec.structs.replace(WORDS, **change))


def test_what_is_no_artifact_gets_no_metadata() -> None:
    with pytest.raises(StepError, match=r"words is not a \.tflite file"):
        with_metadata(b"no network", WORDS)


def _two_ended() -> tuple[bytes, Any]:
    """A graph whose outputs stand in another order than the network's."""
    network = Network()
    image, other = network.tensor("image", [1, 8, 8, 3]), network.tensor("other", [1, 3])
    scores = network.tensor("scores", [1, 3])
    network.operator(schema.BuiltinOperator.RELU, [other], [scores])
    data = network.packed([image, other], [scores, other])
    ends = artifact(
        inputs=(tensor("the other", (1, 3), index=1), tensor("the image", (1, 8, 8, 3), index=0)),
        outputs=(tensor("passed on", (1, 3), index=1), tensor("the scores", (1, 3), index=2)),
    )
    return data, ends


def test_a_build_s_metadata_stand_in_the_graph_s_order_and_label_the_scored_output() -> None:
    data, ends = _two_ended()
    about = About(description="Three things.", author="Ann", version="3", license="MIT")
    built = plan(
        metric=msgspec.structs.replace(plan().metric, output=1), about=about, preprocess=Preprocess(scale=0.5, mean=2.0)
    )
    found = describe(data, built, ends, ("a", "b", "c"), images=True)
    assert [given.name for given in found.inputs] == ["the image", "the other"]
    assert [(made.name, made.labels) for made in found.outputs] == [("the scores", ("a", "b", "c")), ("passed on", ())]
    # The network is fed (x - mean) * scale, metadata say (x - mean) / std.
    assert (found.inputs[0].content, found.inputs[0].mean, found.inputs[0].std) == (Content.RGB, (2.0,), (2.0,))
    assert found.inputs[1].content == Content.FEATURES
    assert (found.text, found.author, found.version, found.license) == ("Three things.", "Ann", "3", "MIT")
    assert read(with_metadata(data, found), "net") == found


def test_labels_that_are_not_as_many_as_classes_are_left_out() -> None:
    data, ends = _two_ended()
    found = describe(data, plan(metric=msgspec.structs.replace(plan().metric, output=1)), ends, ("a", "b"))
    assert [made.labels for made in found.outputs] == [(), ()]
    assert found.inputs[0].mean == ()
