"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT, Edgebuild

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_both_commands_stand_in_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:30])

    assert "./tools/run edgebuild --target arm64" in first_screen
    assert "./tools/run pytest" in first_screen


def test_the_configuration_is_accepted_as_it_stands(edgebuild: Edgebuild) -> None:
    configuration, profile = blocks("toml")
    edgebuild.config(configuration)
    (edgebuild.folder / "boards").mkdir()
    (edgebuild.folder / "boards" / "our-board.toml").write_text(profile)

    ran = edgebuild("--explain")

    assert ran.code == 0, ran.err
    assert "target our-board" in ran.out
    assert re.search(r"budgets.size +200 KiB +boards/our-board.toml", ran.out) is None, (
        "the project's budget is over it"
    )
    assert re.search(r"budgets.size +60 KB +edgebuild.toml", ran.out)
    assert re.search(r"memory.flash +512 KiB +boards/our-board.toml", ran.out)


@pytest.mark.parametrize("path", sorted((ROOT / "targets").glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_is_named(path: Path) -> None:
    assert f"`{path.stem}`" in README


def steps(text: str) -> list[str]:
    """What a build does, in order, without figures and without what only a budget that training missed leads to."""
    found = [line for line in text.splitlines() if line.startswith("- ")]
    return [re.sub(r"[\d.,]+", "N", line) for line in found if "accuracy again" not in line]


def labels(text: str) -> list[str]:
    """The first words of a target's lines, each once, but for what depends on the machine.

    Notes and what the layers lost hang on the last bits of training, energy on counters that some processors have.
    """
    found = re.findall(r"^  ([a-z]+) ", text[text.index("\narm64: ") :], re.MULTILINE)
    return [label for label in dict.fromkeys(found) if label not in {"note", "layers", "energy", "warning"}]


def test_the_transcript_has_the_lines_that_a_build_prints(edgebuild: Edgebuild) -> None:
    """Of each line what every machine prints: accuracy, and with it verdicts, are those of a training on this one."""
    transcript = next(block for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) if block.startswith("$ "))

    edgebuild.compresses = edgebuild.refines = edgebuild.measures = True
    # With more time than the example takes by itself: a slow machine is to compress it too.
    ran = edgebuild("--target", "arm64", "--time", "1m", EDGEBUILD_STORE=str(edgebuild.folder / "new-store"))

    assert ran.code in {0, 1}, ran.err
    assert steps(ran.err) == steps(transcript)
    assert labels(ran.out) == labels(transcript)
    (artifact,) = re.findall(r"^  artifact .*", transcript, re.MULTILINE)
    assert artifact in ran.out
    assert ran.err.splitlines()[0] in transcript
