"""Which budgets can be judged of an artifact at all: the others are refused before anything is built or measured.

What becomes of a budget that is named is decided in three places that leave nothing between them: one that cannot be
read is refused by `budgets`, one for which there can be no figure is refused here, and every other one gets a check
from the `gate`, if only to say why its figure is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from edgebuild.core.budget import COSTS, OF_NPU, SCORES, Budget, Subject
from edgebuild.core.plan import Plan
from edgebuild.core.target import Accelerator, Interpreter, Target, has_costs_of_its_own
from edgebuild.errors import UsageError


class Of(NamedTuple):
    """What budgets are for.

    Attributes:
        name: of the target or the file, for people.
        runtime: of the target; None for a file of which nothing is known.
        accelerator: of the target; None for none.
        board: of the target; empty for a profile of a whole class of devices.
        has_costs_of_its_own: whether a latency on this host is none of the target's, see Plan.
        has_baseline: whether one is named.
        is_recorded: whether the figures of an earlier build are judged, and nothing is compared now.
    """

    name: str
    runtime: Interpreter | None
    accelerator: Accelerator | None = None
    board: str = ""
    has_costs_of_its_own: bool = False
    has_baseline: bool = False
    is_recorded: bool = False

    @classmethod
    def target(cls, target: Target, *, has_baseline: bool) -> Of:
        """What a target's budgets are for."""
        board = target.device.board if target.device is not None else ""
        own = has_costs_of_its_own(target.runtime, target.accelerator, board)
        return cls(target.name, target.runtime.name, target.accelerator, board, own, has_baseline)

    @classmethod
    def plan(cls, plan: Plan, *, has_baseline: bool, is_recorded: bool = False) -> Of:
        """What a build's budgets are for."""
        own = plan.has_costs_of_its_own
        return cls(plan.target, plan.runtime.name, plan.accelerator, plan.board, own, has_baseline, is_recorded)


class _Refusal(NamedTuple):
    """Why there can be no figure for a budget, and what would make it one that can be judged."""

    why: str
    remedy: str


def require(budgets: Iterable[Budget], of: Of) -> None:
    """Refuse budgets for which there can be no figure.

    Raises:
        UsageError: it names each of them, why it cannot be judged, and what would make it judgeable.
    """
    refused = [(budget, found) for budget in budgets if (found := _refusal(budget, of)) is not None]
    if not refused:
        return
    names = list(dict.fromkeys(str(budget.subject) for budget, _ in refused))
    several = "s" if len(names) > 1 else ""
    raise UsageError(
        f"{of.name}: the budget{several} on {', '.join(names)} cannot be judged",
        "\n".join(dict.fromkeys(f"{_named(budget)}: {found.why}." for budget, found in refused)),
        "\n".join(dict.fromkeys(found.remedy for _, found in refused)),
    )


def require_scores(plans: Sequence[Plan], why: str, profiles: Collection[str]) -> tuple[str, ...]:
    """Refuse limits on scores where nothing will be scored.

    Args:
        plans: of all targets; they have the same data.
        why: nothing will be scored.
        profiles: the origins of limits that nobody asked for: those of the profiles that edgebuild brings along. They
            are inconclusive, and the artifact is built.

    Returns:
        What there is to say of the limits that will be inconclusive.

    Raises:
        UsageError: there are others; it names them and their targets.
    """
    limits = [(plan.target, budget) for plan in plans for budget in plan.budgets if budget.subject in SCORES]
    named = [(target, budget) for target, budget in limits if budget.origin not in profiles]
    if named:
        names = list(dict.fromkeys(str(budget.subject) for _, budget in named))
        off = " ".join(f"-b {name}=off" for name in names)
        raise UsageError(
            f"{', '.join(dict.fromkeys(target for target, _ in named))}: the budget{'s' if len(names) > 1 else ''} on "
            f"{', '.join(names)} cannot be judged",
            "\n".join(dict.fromkeys(f"{_named(budget)}: {why}." for _, budget in named)),
            "Give data with labels (--data FILE.npz with x_eval and y_eval; an autoencoder takes --metric mse), "
            f"or leave it out: {off}.",
        )
    return tuple(dict.fromkeys(f"{_named(budget)} will be inconclusive: {why}" for _, budget in limits))


def _named(budget: Budget) -> str:
    return f"{budget.subject} ({budget.origin})" if budget.origin else str(budget.subject)


def _refusal(budget: Budget, of: Of) -> _Refusal | None:
    """Why a budget is refused; None where it is not."""
    subject = budget.subject
    if subject in SCORES and of.runtime is None:
        return _Refusal(
            "a score takes labelled evaluation samples, and of a bare file none is recorded",
            f"Name what a build left (a folder, or a manifest), build it (--data ... -b {subject}=...), "
            f"or leave it out: -b {subject}=off.",
        )
    missing = _of_other_targets(subject, of)
    if missing is not None:
        return missing
    if budget.on_is_assumed and (subject in COSTS or subject == Subject.INSTRUCTIONS) and of.has_costs_of_its_own:
        refused = _elsewhere(subject, of)
        if refused is not None:
            return refused
    if budget.of_baseline and not of.has_baseline and of.is_recorded:
        return _Refusal(
            "it is against a baseline, and this build was compared with none",
            "Compare it (edgebuild bench --against v1.2), build it with a baseline ([bench] baseline or --against), "
            f"or leave it out: -b {subject}=off.",
        )
    if budget.of_baseline and not of.has_baseline:
        return _Refusal(
            "it is against a baseline, and none is named",
            "Name one: [bench] baseline in edgebuild.toml, EDGEBUILD_BASELINE, or --against v1.2 of build and bench.",
        )
    return None


def _of_other_targets(subject: Subject, of: Of) -> _Refusal | None:
    """What only targets of another kind have."""
    off = f"-b {subject}=off, or set it for other targets alone: [targets.NAME.budgets]"
    is_micro = of.runtime is not None and of.runtime.is_micro
    if subject == Subject.ARENA and of.runtime is not None and not is_micro:
        why = f"the arena is TensorFlow Lite Micro's, and {of.name} runs {of.runtime.called}"
        return _Refusal(why, f"Limit activations, or leave it out: {off}.")
    if subject == Subject.ARENA and of.accelerator is not None:
        why = "TensorFlow Lite Micro runs no operator of an NPU on this machine: Vela plans the memory"
        return _Refusal(why, f"Limit npu_sram, or leave it out: {off}.")
    if subject == Subject.FLASH and not is_micro:
        why = "flash is of the firmware's sources, which builds for microcontrollers write"
        return _Refusal(why, f"Limit size, or leave it out: {off}.")
    is_told = of.accelerator is None or subject in of.accelerator.tells
    if subject in (Subject.NPU_LATENCY, Subject.NPU_SRAM) and not is_told:
        why = f"Vela estimates it, and the compiler of {of.name} tells none"
        return _Refusal(why, f"Limit npu_share or size, or leave it out: {off}.")
    if subject in OF_NPU and of.accelerator is None:
        why = f"{of.name} has no accelerator" if of.runtime is not None else "an accelerator's compiler tells it"
        return _Refusal(why, f"Build for a target with one (edgebuild targets lists them), or leave it out: {off}.")
    return None


def _elsewhere(subject: Subject, of: Of) -> _Refusal | None:
    """A cost without a device, of a target whose cost no host has."""
    off = f"-b {subject}=off"
    if subject == Subject.INSTRUCTIONS:
        if of.runtime == Interpreter.LITERT and of.accelerator is None:
            return None  # another core of the same architecture, which the check names
        why = f"instructions are counted of LiteRT on 64-bit Arm cores, which is not what runs on {of.name}"
        return _Refusal(why, f"Write {subject}=...,on=arm64:cortex-a72 if such a core is meant, or {off}.")
    words = str(subject).replace("_", " ")
    runs = of.runtime.called if of.runtime is not None else Interpreter.LITERT.called
    beside = " and an accelerator" if of.accelerator is not None else ""
    what = f"{of.name} is {of.board}" if of.board else f"{of.name} runs {runs}{beside} on a device of its own"
    why = f"{what}, and no device is named: the {words} of the TFLite interpreter on this host is not its own"
    meant = f'on=host if this host is meant ({subject} = {{limit = "...", on = "host"}}), or {off}'
    return _Refusal(why, f"Write {_devices(subject, of)}{meant}.")


def _devices(subject: Subject, of: Of) -> str:
    """What could tell the cost of a target's device, as the beginning of a sentence."""
    if of.runtime is not None and of.runtime.is_micro:
        times = subject == Subject.LATENCY
        npu = "npu_latency=... (Vela's estimate), " if times and of.accelerator is not None else ""
        ram = "arena=... for its RAM, " if subject == Subject.PEAK_MEMORY and of.accelerator is None else ""
        return f"{npu}{ram}on=tflm (TensorFlow Lite Micro on this host), "
    return f"{subject}=...,on=ssh:user@host (a board), on=adb (a phone), "
