from __future__ import annotations

import msgspec
from making import artifact, budget, manifest, plan, tensor

from edgebuild.core.delivery import About
from edgebuild.core.losses import Answers, ClassChange, Losses, OutputLoss, Signal
from edgebuild.core.settings import Preprocess
from edgebuild.core.target import Accelerator, Compiler, Interpreter, Kernels, Runtime
from edgebuild.report import card


def _section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_a_card_says_what_the_artifact_is_and_who_answers_for_it() -> None:
    about = About(description="Spots twelve words.", author="Ann", version="1.2", license="MIT")
    text = card.of_build(manifest(plan=plan(about=about)))
    assert text.startswith("# kws for mcu\n\nSpots twelve words.\n")
    details = _section(text, "Model details")
    for line in ("- Author: Ann", "- Version: 1.2", "- License: MIT", "- Numbers: int8", "SHA-256 `efef"):
        assert line in details
    assert "Author" not in card.of_build(manifest())


def test_a_card_says_how_inputs_are_prepared_and_outputs_read() -> None:
    network = artifact(outputs=(tensor("scores", (1, 2), "int8", scale=0.00390625, zero_point=-128),))
    text = card.of_build(manifest(network=network, plan=plan(preprocess=Preprocess(mean=127.5, scale=0.0078125))))
    use = _section(text, "Intended use")
    assert "| output | `scores` | int8 | 1 x 2 | 0.00390625 * (stored + 128) |" in use
    assert "(x - mean) * scale, with mean 127.5, scale 0.0078125." in use
    assert "0 no, 1 yes" in use


def test_a_card_gives_accuracy_with_its_baseline_and_the_classes_that_changed_most() -> None:
    changes = (ClassChange(label=0, lost=1, gained=0), ClassChange(label=1, lost=7, gained=2))
    answers = Answers(total=1000, changed=12, lost=8, gained=2, classes=changes, confusion=())
    output = OutputLoss(samples=1000, signal=Signal(sqnr_db=30.0, cosine=1.0), answers=answers)
    told = _section(card.of_build(manifest(losses=Losses(output=output))), "Accuracy")
    assert "- This artifact: 91.4 % (1,000 samples, reference kernels, measured)" in told
    assert "- Float network: 92.6 %" in told
    assert "12 of 1,000 (8 became wrong, 2 right, 2 changed and count as before)" in told
    assert told.index("| yes | 7 | 2 |") < told.index("| no | 1 | 0 |")


def test_every_figure_says_how_it_was_come_by() -> None:
    made = manifest(plan=plan(runtime=Runtime(name=Interpreter.LITERT, kernels=Kernels.REFERENCE)))
    figures = _section(card.of_build(made), "Size, memory and latency")
    assert "| activations | 16.6 KB | estimated |" in figures
    assert "| latency | 0.215 ms median, 0.25 ms p90 | measured on host (x86_64, Some Processor, 2 cores" in figures
    of_another_device = _section(card.of_build(manifest()), "Size, memory and latency")
    assert "latency |" not in of_another_device, "a time of this host is none of a microcontroller's"


def test_a_card_holds_data_passes_budgets_and_what_was_decided() -> None:
    text = card.of_build(manifest((budget("size", 10_000),)))
    assert f"| evaluation | 1,000 | `{'23' * 32}` |" in _section(text, "Data")
    assert "1. prune to 50.0 % zeros" in _section(text, "How it was made")
    assert "Verdict: **fail**" in _section(text, "Budgets")
    assert "| size | at most 10.0 KB | 48.5 KB | fail" in _section(text, "Budgets")
    assert "no calibration split was given" in _section(text, "Caveats")
    assert "tensorflow 2.21.0" in _section(text, "Toolchain")


def test_without_scores_data_and_budgets_a_card_says_so() -> None:
    bare = manifest(accuracy=None)
    text = card.of_build(msgspec.structs.replace(bare, inputs=msgspec.structs.replace(bare.inputs, data=None)))
    assert "It was not scored" in _section(text, "Accuracy")
    assert "No data were given." in _section(text, "Data")
    assert "nothing gates this artifact" in _section(text, "Budgets")


def test_names_do_not_break_the_markdown() -> None:
    about = About(description="A | B\n# not a title", author="[Ann](x)", version="", license="")
    text = card.of_build(manifest(name="k*w*s", plan=plan(about=about)))
    assert text.startswith("# k\\*w\\*s for mcu\n\nA \\| B \\# not a title\n")
    assert "- Author: \\[Ann\\](x)" in text


def test_a_card_names_types_as_they_stand_in_the_file_and_what_runs_it() -> None:
    pixels = tensor("image", (1, 8, 8, 3), "uint8", scale=1.0)
    scaled = tensor("scores", (1, 2), "int8", scale=0.25)
    tpu = plan(
        runtime=Runtime(name=Interpreter.LITERT, kernels=Kernels.REFERENCE),
        accelerator=Accelerator(compiler=Compiler.EDGETPU),
    )
    text = card.of_build(manifest(network=artifact(inputs=(pixels,), outputs=(scaled,)), plan=tpu))
    assert "- Numbers: int8, uint8 in, int8 out" in text
    assert "- Runs on: Edge TPU, LiteRT for what it leaves" in text
    assert "| input | `image` | uint8 | 1 x 8 x 8 x 3 | as stored |" in text
    assert "| output | `scores` | int8 | 1 x 2 | 0.25 * stored |" in text
    assert "A latency holds" not in text
