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


@pytest.mark.slow
def test_the_transcript_has_the_lines_that_a_build_prints(edgebuild: Edgebuild) -> None:
    transcript = next(block for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) if block.startswith("$ "))

    edgebuild.compresses = edgebuild.refines = edgebuild.repairs = edgebuild.measures = True
    ran = edgebuild("--target", "arm64", EDGEBUILD_STORE=str(edgebuild.folder / "new-store"))

    def shape(text: str) -> list[str]:
        """The lines without their figures, times, padding and this machine's architecture.

        How far a step has got is told only where it takes long, and what pruning comes to, and which layers lose most,
        hangs on the last bits of training: both depend on the machine.
        """
        passing = r"  (done in|epoch|fixing|calibrating|step|round|writing|layers|note +arm64:|[\d,]+ of)|\$"
        kept = [line for line in text.splitlines() if not re.match(passing, line)]
        return [re.sub(r"[\d.,]+|\b(us|ms|x86_64|aarch64|arm64e?)\b|\s+", " ", line).split() for line in kept if line]  # type: ignore[misc]

    assert shape(ran.err + ran.out) == shape(transcript)
