from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from making import artifact, plan, tensor
from metadata_reader import Table, content_of, labels_of, metadata_of, normalization_of
from PIL import Image
from tflite_networks import Network

from edgebuild.actions import datasets
from edgebuild.core.delivery import About, Content, InputDescription, Metadata, OutputDescription, Pixels
from edgebuild.core.settings import InputKind, Preprocess
from edgebuild.emit.metadata.describing import Fed, describe, lacking
from edgebuild.emit.metadata.reading import read
from edgebuild.emit.metadata.writing import packed, with_metadata
from edgebuild.errors import StepError, UsageError
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.passes import split
from edgebuild.passes.freeze import inputs_of_pixels
from edgebuild.passes.split import encoding

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


def test_fields_lie_where_metadata_schema_fbs_puts_them() -> None:
    """Slots counted by hand in metadata_schema.fbs; tflite-support 0.4.4 reads the same from these bytes."""
    data = packed(WORDS)
    assert data[4:8] == b"M001"
    model = Table.root(data)
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
    (given,) = Table.root(data).tables(3)[0].tables(2)
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
    found = describe(data, built, ends, ("a", "b", "c"))
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
    assert "2 classes have names" in lacking(found, ("a", "b"))[-1]
    named = describe(data, plan(metric=msgspec.structs.replace(plan().metric, output=1)), ends, ("a", "b", "c"))
    assert not any("classes have names" in what for what in lacking(named, ("a", "b", "c")))


def _images(channels: int = 3, output: int = 3) -> tuple[bytes, Any]:
    """A graph that takes an image and gives scores."""
    network = Network()
    image, scores = network.tensor("image", [1, 8, 8, channels]), network.tensor("scores", [1, output])
    network.operator(schema.BuiltinOperator.RELU, [image], [scores])
    ends = artifact(
        inputs=(tensor("image", (1, 8, 8, channels), index=0),), outputs=(tensor("scores", (1, output), index=1),)
    )
    return network.packed([image], [scores]), ends


@pytest.mark.parametrize(
    ("fed", "preprocess", "expected"),
    [
        (Fed(Pixels.BYTES), Preprocess(scale=1.0, mean=0.0), ((0,), (1,))),
        (Fed(Pixels.BYTES), Preprocess(scale=1 / 127.5, mean=127.5), ((127.5,), (127.5,))),
        (Fed(Pixels.BYTES), Preprocess(scale=(0.5, 0.25, 0.125), mean=4.0), ((4, 4, 4), (2, 4, 8))),
        (Fed(Pixels.UNIT), Preprocess(scale=1.0, mean=0.0), ((0,), (255,))),
        (Fed(Pixels.UNIT), Preprocess(scale=2.0, mean=0.5), ((127.5,), (127.5,))),
        (Fed(Pixels.SIGNED), Preprocess(scale=1.0, mean=0.0), ((127.5,), (127.5,))),
        (Fed(None, rescales=True), Preprocess(scale=1.0, mean=0.0), ((0,), (1,))),
        (Fed(Pixels.BYTES, is_float=False), Preprocess(scale=0.5, mean=2.0), ((0,), (1,))),
        (Fed(Pixels.OTHER), Preprocess(scale=0.5, mean=2.0), ((2,), (2,))),
        (Fed(), Preprocess(scale=0.5, mean=2.0), ((2,), (2,))),
        (Fed(Pixels.OTHER), Preprocess(scale=1.0, mean=0.0), None),
        (Fed(), Preprocess(scale=1.0, mean=0.0), None),
        (Fed(), Preprocess(scale=0.0, mean=0.0), None),
    ],
)
def test_normalization_is_of_the_pixels_that_apps_have(fed: Fed, preprocess: Preprocess, expected: Any) -> None:
    """What an SDK computes, (pixel - mean) / std, is what the network was fed with that pixel as the data hold it."""
    data, ends = _images()
    described = describe(data, plan(preprocess=preprocess), ends, fed=[fed])
    file = with_metadata(data, described)
    assert content_of(file) == "RGB"
    found = normalization_of(file)
    assert (found is None) == (expected is None)
    assert expected is None or np.allclose(found, expected)
    assert bool(lacking(described)) == (expected is None)
    if expected is not None and fed.is_float:
        held = {Pixels.UNIT: 51 / 255, Pixels.SIGNED: (51 - 127.5) / 127.5}.get(fed.pixels or Pixels.BYTES, 51.0)
        mean, scale = (value[0] if isinstance(value, tuple) else value for value in (preprocess.mean, preprocess.scale))
        assert (51 - expected[0][0]) / expected[1][0] == pytest.approx((held - mean) * scale)


@pytest.mark.parametrize(
    ("kind", "channels", "content"),
    [
        (InputKind.AUTO, 3, "RGB"),
        (InputKind.AUTO, 1, "GRAYSCALE"),
        (InputKind.AUTO, 2, "FEATURES"),
        (InputKind.IMAGE, 1, "GRAYSCALE"),
        (InputKind.FEATURES, 3, "FEATURES"),
        (InputKind.AUDIO, 1, "AUDIO"),
    ],
)
def test_the_shape_says_what_is_an_image_and_input_kind_overrides_it(
    kind: InputKind, channels: int, content: str
) -> None:
    data, ends = _images(channels)
    described = describe(data, plan(input_kind=kind, sample_rate=16000), ends, fed=[Fed(Pixels.BYTES)])
    file = with_metadata(data, described)
    assert content_of(file) == content
    assert read(file, "net") == described
    # AudioProperties came with version 1.3.0 of the schema.
    assert Table.root(metadata_of(file)).text(7) == ("1.3.0" if content == "AUDIO" else "1.0.0")
    if content == "AUDIO":
        sound = Table.root(metadata_of(file)).tables(3)[0].tables(2)[0].table(3).table(1)
        assert (sound.number(0), sound.number(1)) == (16000, 1)


PICTURES = """
import numpy as np, tensorflow as tf
data = dict(np.load({path!r}))
def arrays():
    return data
def datasets():
    train, test = (
        tf.data.Dataset.from_tensor_slices((data["x_" + split].astype("float32"), data["y_" + split])).batch(4)
        for split in ("train", "eval")
    )
    return {{"train": train, "test": test, "labels": list(data["labels"])}}
def words():
    named = {{"y_" + split: data["labels"][data["y_" + split]] for split in ("train", "eval")}}
    return {{"x_train": data["x_train"], "x_eval": data["x_eval"], **named}}
"""


def test_the_same_images_give_the_same_metadata_wherever_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (18, 8, 8, 3), np.uint8), np.arange(18) // 3 % 3
    for number in range(18):
        folder = tmp_path / "images" / ("train" if number < 9 else "test") / "abc"[y[number]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[number]).save(folder / f"{number:02}.png")
    npz = tmp_path / "images.npz"
    np.savez(npz, x_train=x[:9], y_train=y[:9], x_eval=x[9:], y_eval=y[9:], labels=list("abc"))
    (tmp_path / "pictures.py").write_text(PICTURES.format(path=str(npz)))
    monkeypatch.syspath_prepend(str(tmp_path))
    data, ends = _images()
    built = plan(preprocess=Preprocess(scale=1 / 127.5, mean=127.5))
    sources = [("file", npz), ("folder", tmp_path / "images")]
    sources += [("callable", f"pictures:{name}") for name in ("arrays", "datasets", "words")]
    files = set()
    for number, (kind, path) in enumerate(sources):
        out = tmp_path / f"out{number}"
        out.mkdir()
        job = datasets.SplitJob(kind=kind, path=str(path), inputs=ends.inputs, split=built.split, out=str(out))
        found = split.run(job, lambda _: None)
        described = describe(data, built, ends, found.labels, fed=[Fed(pixels) for pixels in found.pixels])
        files.add(with_metadata(data, described))
    (file,) = files
    assert content_of(file) == "RGB"
    assert np.allclose(normalization_of(file) or (), ((127.5,), (127.5,)))
    assert labels_of(file) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1], np.uint8), Pixels.BYTES),
        (np.array([0.0, 255.0]), Pixels.BYTES),
        (np.array([0.0, 16.0]), Pixels.BYTES),
        (np.array([0.0, 1.0]), Pixels.UNIT),
        (np.array([-0.9, 1.0]), Pixels.SIGNED),
        (np.array([-2.1, 2.6]), Pixels.OTHER),
        (np.array([-128, 127], np.int8), Pixels.OTHER),
        (np.array([0, 4095], np.uint16), Pixels.OTHER),
    ],
)
def test_how_samples_hold_pixels_is_told_by_type_and_range(values: Any, expected: Pixels) -> None:
    assert encoding([values[:1], values]) == expected


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras 3", "tf_keras"])
def test_a_network_that_scales_pixels_by_itself_is_known_by_its_first_layers(kit: Any) -> None:
    def model(*first: Any) -> tuple[str, ...]:
        x = inputs = kit.Input((4, 4, 3))
        for layer in first:
            x = layer(x)
        made = kit.Model(inputs, kit.layers.GlobalAveragePooling2D()(x))
        return inputs_of_pixels(made, ["image"])

    layers = kit.layers
    assert model(layers.Rescaling(1 / 255)) == ("image",)
    assert model(kit.Sequential([layers.Input((4, 4, 3)), layers.Rescaling(1 / 127.5, offset=-1)])) == ("image",)
    assert model(layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)) == ("image",)
    assert model(layers.Rescaling(2.0, offset=-1)) == ()
    assert model(layers.Normalization(mean=[0.5] * 3, variance=[0.05] * 3)) == ()
    assert model(layers.ReLU(), layers.Rescaling(1 / 255)) == ()
    sequential = kit.Sequential([layers.Input((4, 4, 3)), layers.Rescaling(1 / 255), layers.Flatten()])
    assert inputs_of_pixels(sequential, ["image"]) == ("image",)
    assert inputs_of_pixels(None, ["image"]) == ()
