"""`edgebuild [build] [MODEL] --target NAME`: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli import options, output
from edgebuild.cli.outcome import exit_code
from edgebuild.core.passes import Scheme
from edgebuild.errors import ExitCode

if TYPE_CHECKING:
    from edgebuild.core.outlook import Outlook
    from edgebuild.core.plan import Plan
    from edgebuild.layering import Tree
    from edgebuild.pipeline.build import Outcome

_EPILOG = """\b
Other commands (each has --help):
  edgebuild build-all ...    several networks in one go: [[build]] tables, or models named here
  edgebuild check [DIST]     gate again what is built; no TensorFlow
  edgebuild inspect FILE     what a .tflite file holds: operators, memory, bytes
  edgebuild diff A B         two files or builds beside each other
  edgebuild bench PATH       time what is built, or any .tflite file, here or on devices, against a baseline
  edgebuild history NAME     how size, accuracy, instructions and latency moved from commit to commit
  edgebuild calibrate ...    what an emulated instruction takes on a device of yours
  edgebuild targets [NAME]   the target profiles, or all of one
  edgebuild doctor           which tools are here, and how the others are installed

\b
Exit codes:
  0 all budgets kept   1 a budget failed   2 wrong usage or configuration   3 a bug in edgebuild
  4 a step failed   5 a required figure could not be had   130 interrupted
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False, default="")
@click.option("--target", "-t", multiple=True, metavar="NAME", help="A profile, or a TOML file. Repeatable.")
@click.option("--data", "-d", metavar="PATH", help="A .npz or .csv, a folder of images by class, or module:callable.")
@click.option("--out", "-o", metavar="DIR", help="Where TARGET/NAME.tflite is left.  [default: dist]")
@click.option("--name", metavar="NAME", help="Of the artifact.  [default: the model's]")
@options.budget_option
@options.on_option
@options.against_option
@options.require_baseline_option
@click.option(
    "--quantize",
    "-q",
    type=click.Choice([str(scheme) for scheme in Scheme]),
    help="Instead of the profile's quantization.",
)
@click.option("--no-compress", is_flag=True, help="Only quantize: leave out the profile's pruning and training.")
@click.option("--no-refine", is_flag=True, help="Leave int8 ranges and rounding to the converter.")
@click.option("--no-repair", is_flag=True, help="Try nothing more where the accuracy budget is missed.")
@click.option("--time", metavar="TIME", help="For all training of one target, e.g. 10m.  [default: 15 min]")
@click.option(
    "--metric",
    "-m",
    metavar="NAME",
    help="accuracy, top-k, auc, miou, iou, mse, mae, rmse, r2, a Keras metric (F1Score), or module:callable.  "
    "[default: chosen by the labels]",
)
@click.option("--calibration-samples", type=int, help="How many to draw from train.  [default: 200]")
@click.option("--seed", type=int, help="Of every drawing and of training.  [default: 0]")
@options.set_option
@options.config_option
@click.option("--allow-code", is_flag=True, help="Let Python code stored in the model's file run (Lambda layers).")
@click.option("--measure-again", is_flag=True, help="Do not reuse figures measured on this machine before.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), help="How many steps at a time.  [default: by cores and memory]"
)
@click.option(
    "--on-cluster",
    metavar="WHERE",
    help="A Ray cluster that helps: auto, ray://HOST:PORT, or local to start one here.  [default: none]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--explain", is_flag=True, help="Show where each setting comes from, and do nothing.")
@options.report_option
@options.json_option
@options.verbose_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@click.version_option(None, "--version", package_name="edgebuild", message="edgebuild %(version)s")
def command(
    model: str,
    target: tuple[str, ...],
    budget: tuple[str, ...],
    config: Path | None,
    dry_run: bool,
    explain: bool,
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> int:
    """Turn a trained network into a gated .tflite for each target.

    MODEL is a .keras or .h5 file, a SavedModel folder, or module:callable. Without one, what edgebuild.toml names is
    built; without that, the example: scikit-learn's handwritten digits and a small network trained on the spot.
    """
    from edgebuild import api  # --help should not wait for what it does not need
    from edgebuild.cli import build_all, progress
    from edgebuild.report import plans as plan_report

    tree = settings_of(model, target, budget, more)
    if not model and (builds := options.builds(config, tree)):
        ways = {"dry_run": dry_run, "explain": explain, "as_json": as_json, "quiet": quiet, "verbose": more["verbose"]}
        return build_all.run(builds, **ways)
    configuration = options.configuration(config, tree)
    if explain:
        output.result(plan_report.explain(configuration.layered, api.resolve(configuration)))
        return ExitCode.OK
    if dry_run:
        planned = api.plans(configuration)
        show(planned, api.outlooks(planned), as_json)
        return ExitCode.OK
    if not quiet and not configuration.settings.model.path:
        output.say("no model was named and there is no edgebuild.toml: building the example (handwritten digits)")
    outcomes = api.build_all(configuration, progress.listener(quiet=quiet))
    return _report(outcomes, configuration.settings.build.out, as_json=as_json, verbose=more["verbose"])


def settings_of(model: str, target: tuple[str, ...], budget: tuple[str, ...], more: dict[str, Any]) -> Tree:
    """What the options say, shaped like edgebuild.toml."""
    return options.merged(
        options.given(
            model={"path": model, "name": more["name"], "allow_code": more["allow_code"]},
            data={"path": more["data"], "calibration_samples": more["calibration_samples"], "seed": more["seed"]},
            build={
                "targets": list(target) or None,
                "out": more["out"],
                "measure_again": more["measure_again"],
                "jobs": more["jobs"],
                "cluster": more["on_cluster"],
                "reports": options.listed(more["reports"]),
            },
            bench={
                "on": list(more["on"]) or None,
                "baseline": more["against"],
                "baseline_required": more["require_baseline"],
            },
            metric={"name": more["metric"]},
            train={"time": more["time"]},
            budgets=dict(options.budget_table(budget)),
        ),
        {"passes": {"quantize": {"scheme": more["quantize"]}}} if more["quantize"] else {},
        *({"build": {switch: False}} for switch in ("compress", "refine", "repair") if more[f"no_{switch}"]),
        *map(options.setting, more["settings"]),
    )


def show(plans: Sequence[Plan], outlooks: Sequence[Outlook], as_json: bool) -> None:
    """Print plans, of which nothing was built."""
    from edgebuild.report import plans as plan_report

    if as_json:
        import msgspec  # as above

        both = zip(plans, outlooks, strict=True)
        output.result(output.as_json([{**msgspec.to_builtins(plan), "outlook": found} for plan, found in both]))
        return
    shown = (plan_report.of_plan(plan, found) for plan, found in zip(plans, outlooks, strict=True))
    output.result("\n\n".join(shown))
    output.result("\nno verdict: nothing was built (--dry-run)")


def _report(outcomes: Sequence[Outcome], out: str, *, as_json: bool, verbose: bool) -> int:
    from edgebuild.report import summary

    manifests = [outcome.manifest for outcome in outcomes if outcome.manifest is not None]
    failed = {outcome.target: outcome.error for outcome in outcomes if outcome.error is not None}
    if as_json:
        errors = [{"target": target, "error": output.as_document(error)} for target, error in failed.items()]
        output.result(output.as_json([*manifests, *errors]))
    else:
        said: set[str] = set()
        for manifest in manifests:
            folder = f"{out}/{manifest.target}"
            output.result("\n" + summary.of_build(manifest, folder, output.paint, said=said, verbose=verbose))
            said.update((*manifest.notes, *(finding.what for finding in manifest.findings)))
    output.errors(list(failed.items()), titled=True)
    verdicts = [manifest.verdict for manifest in manifests]
    if not as_json:
        output.result("\n" + summary.closing(verdicts, list(failed), output.paint, "no artifact for"))
    return exit_code([verdict.status for verdict in verdicts], [error.exit_code for error in failed.values()])
