"""Each pass before quantization, asked for on the command line and found again in the artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Edgebuild, Ran

from edgebuild.flatbuffer import reader, weights
from edgebuild.flatbuffer.weights import Weights

QUICK = ("train.epochs=12", "train.learning_rate=0.003")
NONE_OF_THE_PROFILES = ("passes.channels=off", "passes.prune=off")
WITH_NAMES = ("delivery.lean=false",)


@pytest.fixture
def compresses(edgebuild: Edgebuild) -> Edgebuild:
    edgebuild.compresses = True
    return edgebuild


def build(
    edgebuild: Edgebuild,
    networks: Path,
    target: str | tuple[str, ...],
    *settings: str,
    model: str = "residual.h5",
    data: str = "",
) -> Ran:
    chosen = (*NONE_OF_THE_PROFILES, *WITH_NAMES, *QUICK, *settings)
    options = [part for setting in chosen for part in ("--set", setting)]
    options += [part for each in ([target] if isinstance(target, str) else target) for part in ("--target", each)]
    return edgebuild(networks / model, "--data", networks / (data or "images.npz"), *options)


def artifact(edgebuild: Edgebuild, target: str, name: str = "residual") -> Path:
    return edgebuild.folder / "dist" / target / f"{name}.tflite"


def by_layer(path: Path) -> dict[str, Weights]:
    """The weights of an artifact under the names of the layers they came from."""
    known = ("stem", "inner", "depthwise", "pointwise", "hidden", "answer")
    found = {}
    for item in weights.read(path):
        layer = next((name for name in known if f"/{name}/" in f"/{item.output}/"), None)
        if layer is not None:
            found[layer] = item
    return found


def notes(manifest: Any, start: str) -> list[str]:
    return [note for note in manifest["notes"] if note.split(": ", 1)[-1].startswith(start)]


@pytest.mark.slow
def test_channel_pruning_leaves_a_smaller_network(compresses: Edgebuild, networks: Path) -> None:
    settings = ("passes.channels.keep=40%", "passes.channels.multiple=4", "passes.channels.max_drop=30%")
    ran = build(compresses, networks, "mcu", *settings)
    assert ran.code in (0, 1), ran.err
    manifest = compresses.manifest("mcu")
    shrinkage = manifest["compression"]
    assert shrinkage["after"]["macs"] <= 0.4 * shrinkage["before"]["macs"]
    assert shrinkage["after"]["size_bytes"] < 0.9 * shrinkage["before"]["size_bytes"]
    convolutions = [
        item.values.shape for item in weights.read(artifact(compresses, "mcu")) if item.operator == "CONV_2D"
    ]
    assert all(shape[0] % 4 == 0 for shape in convolutions)
    assert manifest["accuracy"]["artifact"] > 0.6
    assert notes(manifest, "channels: ")
    assert notes(manifest, "answer: left alone: its channels")


@pytest.mark.slow
def test_a_cut_that_costs_too_much_is_taken_back_and_half_of_it_is_tried(compresses: Edgebuild, networks: Path) -> None:
    settings = ("passes.channels.keep=1%", "passes.channels.importance=l1", "passes.channels.rounds=1")
    nothing_learnt = ("passes.channels.max_drop=0%", "passes.channels.multiple=1", "train.learning_rate=1e-9")
    ran = build(compresses, networks, "mcu", *settings, *nothing_learnt, "train.epochs=1")
    assert ran.code == 0, ran.err
    manifest = compresses.manifest("mcu")
    assert notes(manifest, "reverted the cut to 1.0 % of the macs")
    shrinkage, accuracy = manifest["compression"], manifest["accuracy"]
    assert accuracy["artifact"] >= accuracy["baseline"] - 0.01
    assert 0.05 * shrinkage["before"]["macs"] < shrinkage["after"]["macs"] < shrinkage["before"]["macs"]


@pytest.mark.slow
def test_channels_can_be_ranked_by_times_that_were_measured(compresses: Edgebuild, networks: Path) -> None:
    settings = ("passes.channels.keep=60%", "passes.channels.cost=latency", "passes.channels.rank_by=latency")
    ran = build(compresses, networks, "arm64", *settings, "passes.channels.max_drop=30%", "passes.channels.rounds=1")
    assert ran.code in (0, 1), ran.err
    assert "single layers on this machine" in ran.err
    shrinkage = compresses.manifest("arm64")["compression"]
    assert shrinkage["after"]["macs"] < 0.8 * shrinkage["before"]["macs"]


@pytest.mark.slow
def test_pruned_weights_are_zero_in_the_artifact_and_stored_sparsely_where_that_is_read(
    compresses: Edgebuild, networks: Path
) -> None:
    settings = ("passes.prune.sparsity=80%", "passes.prune.smallest=100", "passes.prune.max_drop=30%")
    ran = build(compresses, networks, ("arm64", "mcu"), *settings)
    assert ran.code in (0, 1), ran.err
    found = by_layer(artifact(compresses, "arm64"))
    for layer in ("inner", "pointwise", "hidden"):
        assert found[layer].sparsity == pytest.approx(0.8, abs=0.01), layer
    assert found["inner"].is_sparse
    assert found["depthwise"].sparsity < 0.2
    shrinkage = compresses.manifest("arm64")["compression"]
    assert shrinkage["after"]["size_gzip_bytes"] < 0.7 * shrinkage["before"]["size_gzip_bytes"]
    assert shrinkage["after"]["macs"] == shrinkage["before"]["macs"]
    dense = artifact(compresses, "mcu")  # whose runtime reads no other
    assert not any(item.is_sparse for item in weights.read(dense))
    assert by_layer(dense)["hidden"].sparsity == pytest.approx(0.8, abs=0.01)


@pytest.mark.slow
def test_zeros_and_clusters_survive_quantization_aware_training(compresses: Edgebuild, networks: Path) -> None:
    settings = (
        *("passes.prune.sparsity=50%", "passes.prune.smallest=100", "passes.prune.max_drop=30%"),
        *("passes.cluster.clusters=16", "passes.cluster.max_drop=30%", "passes.qat.part=100%"),
    )
    ran = build(compresses, networks, "mcu", *settings)
    assert ran.code in (0, 1), ran.err
    found = by_layer(artifact(compresses, "mcu"))
    for layer in ("inner", "pointwise", "hidden"):
        assert found[layer].sparsity == pytest.approx(0.5, abs=0.01), layer
        assert found[layer].unique <= 16, layer
    assert compresses.manifest("mcu")["accuracy"]["artifact"] > 0.6


@pytest.mark.slow
def test_clusters_survive_post_training_quantization(compresses: Edgebuild, networks: Path) -> None:
    ran = build(compresses, networks, "mcu", "passes.cluster.clusters=8", "passes.cluster.max_drop=30%")
    assert ran.code in (0, 1), ran.err
    found = by_layer(artifact(compresses, "mcu"))
    assert all(found[layer].unique <= 8 for layer in ("inner", "pointwise", "hidden"))
    shrinkage = compresses.manifest("mcu")["compression"]
    assert shrinkage["after"]["size_gzip_bytes"] < 0.7 * shrinkage["before"]["size_gzip_bytes"]


@pytest.mark.slow
def test_a_narrower_student_takes_the_networks_place(compresses: Edgebuild, networks: Path) -> None:
    ran = build(compresses, networks, "mcu", "passes.student.width=50%", "train.epochs=40")
    assert ran.code in (0, 1), ran.err
    manifest = compresses.manifest("mcu")
    assert by_layer(artifact(compresses, "mcu"))["stem"].values.shape[0] == 8
    assert manifest["compression"]["after"]["macs"] < 0.4 * manifest["compression"]["before"]["macs"]
    assert manifest["accuracy"]["artifact"] > 0.6


@pytest.mark.slow
def test_a_student_of_the_users_own_learns_from_several_teachers(compresses: Edgebuild, networks: Path) -> None:
    compresses.config(
        f"""
        [train]
        epochs = 30
        learning_rate = 0.01
        [distill]
        hard = 0.0
        [[distill.teachers]]
        network = "mine:large"
        [[distill.teachers]]
        network = "mine:oracle"
        [[distill.teachers]]
        network = "{networks / "residual.h5"}"
        weight = 0.5
        [[distill.teachers]]
        network = "{networks / "answers.npy"}"
        [passes]
        channels = "off"
        [passes.student]
        network = "{networks / "keras3.keras"}"
        """
    )
    ran = compresses(networks / "residual.h5", "-d", networks / "images.npz", "-t", "mcu", PYTHONPATH=str(networks))
    assert ran.code in (0, 1), ran.err
    manifest = compresses.manifest("mcu")
    assert {item.values.shape[0] for item in weights.read(artifact(compresses, "mcu"))} == {4, 3}
    assert manifest["accuracy"]["artifact"] > 0.6
    learnt = {source["path"]: source["sha256"] for source in manifest["plan"]["learns_from"]}
    assert {"mine:large", "mine:oracle"} < set(learnt)
    assert len(learnt) == 5


@pytest.mark.slow
def test_without_train_data_the_profiles_passes_are_left_out_and_named(compresses: Edgebuild, networks: Path) -> None:
    clusters = ("--set", "passes.cluster.untrained=false")
    ran = compresses(networks / "residual.h5", "-d", networks / "only_eval.npz", "-t", "arm64", *clusters)
    assert ran.code == 0, ran.err
    manifest = compresses.manifest("arm64")
    left_out = [note for note in manifest["notes"] if "there are no train data to recover with" in note]
    assert [note.split(" was left out")[0] for note in left_out] == [
        "arm64: channels",
        "arm64: prune",
        "arm64: cluster",
    ]
    assert manifest["compression"] is None


@pytest.mark.slow
def test_what_needs_no_train_data_is_done_where_it_is_asked_for(compresses: Edgebuild, networks: Path) -> None:
    settings = ("passes.prune.sparsity=60%", "passes.prune.smallest=100", "passes.student.width=50%")
    ran = build(compresses, networks, "mcu", *settings, data="only_eval.npz")
    assert ran.code in (0, 1), ran.err
    assert by_layer(artifact(compresses, "mcu"))["hidden"].sparsity == pytest.approx(0.6, abs=0.01)
    manifest = compresses.manifest("mcu")
    assert notes(manifest, "student was left out")
    assert notes(manifest, "nothing was trained after weight pruning")


@pytest.mark.slow
def test_a_network_without_layers_is_only_quantized_and_that_is_said(compresses: Edgebuild, networks: Path) -> None:
    ran = build(compresses, networks, "mcu", "passes.channels.keep=50%", model="layerless")
    assert ran.code in (0, 1), ran.err
    manifest = compresses.manifest("mcu")
    assert notes(manifest, "channels left out: the layers of")
    assert manifest["compression"] is None


@pytest.mark.slow
def test_two_builds_of_the_same_give_the_same_bytes_and_an_unchanged_one_does_nothing(
    compresses: Edgebuild, networks: Path, tmp_path: Path
) -> None:
    settings = (
        "passes.channels.keep=50%",
        "passes.channels.max_drop=60%",
        "passes.channels.rounds=1",
        "train.epochs=3",
    )
    data = [artifact(compresses, "mcu")]
    found = []
    for store in ("first", "second"):
        compresses.store = tmp_path / store
        assert build(compresses, networks, "mcu", *settings).code in (0, 1)
        found.append(data[0].read_bytes())
    assert found[0] == found[1]
    again = build(compresses, networks, "mcu", *settings)
    steps = [line for line in again.err.splitlines() if line.startswith("- ")]
    assert steps
    assert all(line.endswith("kept from an earlier build") for line in steps)
    assert reader.read(data[0]).macs < 0.6 * compresses.manifest("mcu")["compression"]["before"]["macs"]


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (
            ("passes.channels.exclude=['steam']",),
            2,
            'names the layer "steam", which the network does not have; did you',
        ),
        (("passes.student.network=nowhere.h5",), 2, "there is no file at nowhere.h5"),
        (("passes.channels.keep=150%",), 2, "passes.channels.keep"),
        (("passes.channels.keep=0%",), 2, "leaves nothing"),
        (("passes.channels.kep=50%",), 2, 'did you mean "keep"?'),
        (("passes.qat.part=100%", "passes.quantize.scheme=int16x8"), 2, "is to be trained for int8 (qat)"),
    ],
)
def test_what_cannot_be_done_is_one_clear_message(
    compresses: Edgebuild, networks: Path, settings: tuple[str, ...], code: int, said: str
) -> None:
    ran = build(compresses, networks, "mcu", *settings)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert not (compresses.folder / "dist").exists()


# Each refused like those above, in one go: what stands in its tables, exit code, and what is said.
MORE = (
    ("[build.passes.prune]\nlayers = {steam = '50%'}", 4, "there is no kernel to prune in steam"),
    ("[build.passes.cluster]\nlayers = {steam = 4}", 4, "there is no kernel to cluster in steam"),
    ("[build.passes.student]\nnetwork = 'mine:convolutional'", 2, "mine:convolutional cannot be loaded"),
    (
        "[build.passes.channels]\nkeep = '50%'\n[build.train]\naugment = 'mine:nothing'",
        2,
        "mine:nothing cannot be loaded",
    ),
    ("[build.passes.prune]\nsparsity = '100%'", 4, "every weight would be pruned"),
    ("[build.passes.cluster]\nlayers = {hidden = 2}", 4, "fewer than 3 clusters"),
    ("[build.passes.qat]\nexclude = ['hiden']", 2, 'did you mean "hidden"?'),
)


@pytest.mark.slow
def test_what_cannot_be_done_is_refused_by_itself_among_others(compresses: Edgebuild, networks: Path) -> None:
    given = f'targets = ["mcu"]\nmodel = "{networks / "residual.h5"}"\ndata = "{networks / "images.npz"}"\n'
    off = ("channels", "prune")
    tables = {}
    for number, (table, _, _) in enumerate(MORE):
        passes = "".join(f'{name} = "off"\n' for name in off if f"passes.{name}]" not in table)
        tables[f"build{number}"] = f"{given}[build.passes]\n{passes}{table}"
    found = compresses.each(tables)
    for (table, code, said), outcome in zip(MORE, found.values(), strict=True):
        (error,) = [each["error"] for each in outcome["errors"]]
        whole = " ".join(str(error[part]) for part in ("what", "why", "remedy"))
        assert (error["exit_code"], said in whole) == (code, True), (table, error)
    assert not (compresses.folder / "dist").exists()


@pytest.mark.slow
def test_augmentation_is_a_function_of_the_users_own(compresses: Edgebuild, networks: Path) -> None:
    settings = ("passes.channels.keep=60%", "passes.channels.max_drop=40%", "passes.channels.rounds=1")
    options = [part for setting in (*QUICK, *settings, "train.augment=mine:mirrored") for part in ("--set", setting)]
    ran = compresses(
        networks / "residual.h5", "-d", networks / "images.npz", "-t", "mcu", *options, PYTHONPATH=str(networks)
    )
    assert ran.code in (0, 1), ran.err
    assert compresses.manifest("mcu")["compression"] is not None
