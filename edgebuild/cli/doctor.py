"""`edgebuild doctor`: what of this machine can be used, and the installation of what edgebuild can install itself."""

from __future__ import annotations

import click

from edgebuild.cli import options, output


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--install", "what", type=click.Choice(["arm64"]), help="Set this up in the user's cache, without root.")
@options.json_option
def command(what: str | None, as_json: bool) -> None:
    """List the tools, packages and rights that edgebuild can use here, and for each that is missing what brings it.

    --install arm64 sets up the emulation of 64-bit Arm cores on Debian and Ubuntu: QEMU and an arm64 Python from the
    package sources of this system, LiteRT and numpy from pip's index, in the folder that EDGEBUILD_ARM64 names or in
    the user's cache (some 180 MB). Elsewhere EDGEBUILD_QEMU_AARCH64 names a dynamic qemu-aarch64 and
    EDGEBUILD_ARM64_ROOT the root of an arm64 Linux with Python, numpy and ai-edge-litert.
    """
    from edgebuild import api  # here and below: --help should not wait for what it does not need
    from edgebuild.pipeline import doctor
    from edgebuild.report import doctor as report

    if what is not None:
        doctor.install_arm64(lambda text: output.say(f"- {text}"))
    found = doctor.examine(api.store_folder())
    if what is not None:
        found = tuple(facility for facility in found if facility.name == doctor.ARM64)
    output.result(output.as_json(found) if as_json else report.of_facilities(found, output.paint))
