"""A plan as text and as JSON."""

from typing import Any

from worldr1.planning.advice import Advice
from worldr1.planning.memory import STEP
from worldr1.planning.plan import Plan


def plan_text(plan: Plan) -> str:
    """Tables of memory and seconds, and what was assumed."""
    return "\n".join(
        [
            f"{plan.recipe} on {plan.gpus} x {plan.card.name} with {plan.card.memory_gib:g} GiB (predicted)",
            "",
            "memory of a GPU, GiB",
            *_memory_lines(plan),
            "",
            "seconds of an update",
            *_seconds_lines(plan),
            "",
            _time_line(plan),
            *(f"assumed: {note}" for note in plan.notes),
        ]
    )


def plan_json(plan: Plan, advice: Advice | None) -> dict[str, Any]:
    """The same as an object; `advice` is null where the recipe fits, or no GPU takes any of it."""
    memory, seconds = plan.memory, plan.seconds
    return {
        "recipe": plan.recipe,
        "gpu": plan.card.name,
        "gpus": plan.gpus,
        "hours": plan.hours,
        "fits": plan.fits,
        "memory_gib": {
            "available": plan.card.memory_gib,
            "needed": plan.needed_gib,
            "peak": memory.peak,
            "peak_stage": memory.peak_stage,
            "always": dict(memory.always),
            "stages": dict(memory.stages),
            "step_with_checkpointing": memory.step_with_checkpointing,
            "step_without_checkpointing": memory.step_without_checkpointing,
        },
        "checkpointing": memory.checkpointing,
        "tiled": memory.tiled,
        "seconds": {
            "update": seconds.update,
            "rollout": seconds.rollout,
            "decode": seconds.decode,
            "reward": seconds.reward,
            "step": seconds.step,
            "start": plan.start_s,
            "evaluations": plan.evaluations_s,
        },
        "seconds_per_call": dict(plan.per_call),
        "updates": plan.updates,
        "updates_asked": plan.updates_asked,
        "samples": plan.samples,
        "notes": list(plan.notes),
        "advice": None if advice is None else _advice_json(advice),
    }


def misfit_sentence(plan: Plan, advice: Advice | None) -> str:
    """Why a recipe cannot run on its card, and what to type."""
    problem = (
        f"{plan.recipe} needs {plan.needed_gib:.1f} GiB ({plan.memory.peak_stage}) and the {plan.card.name} has "
        f"{plan.card.memory_gib:g}"
    )
    if advice is None:
        return f"{problem}; no change of the recipe makes it fit any GPU that plan knows."
    typed = " ".join(f"--set {words}" for words in advice.words)
    other = advice.plan
    then = f"(then {other.needed_gib:.1f} GiB and {other.seconds.update:,.0f} seconds per update"
    if other.card == plan.card:
        return f"{problem}; the cheapest change that fits is {typed} {then} instead of {plan.seconds.update:,.0f})."
    able = "trains the same" if advice.same_training else "takes any of it"
    there = f"{other.card.name} of {other.card.memory_gib:g} GiB{' with ' * bool(typed)}{typed}"
    return f"{problem}; no change of the recipe makes it fit there: the smallest GPU that {able} is {there} {then})."


def _advice_json(advice: Advice) -> dict[str, Any]:
    return {
        "gpu": advice.plan.card.name,
        "set": list(advice.words),
        "needed_gib": advice.plan.needed_gib,
        "seconds_per_update": advice.plan.seconds.update,
    }


def _memory_lines(plan: Plan) -> list[str]:
    memory = plan.memory
    parts = ", ".join(f"{name} {gib:.2f}" for name, gib in memory.always.items() if gib > 0)
    lines = [_line("always", sum(memory.always.values()), parts)]
    for name, gib in memory.stages.items():
        lines.append(_line(f"+ {name}", gib, _stage_remark(plan, name)))
    overhead = f"in {memory.peak_stage}; {plan.needed_gib:.1f} with driver and allocator, of {plan.card.memory_gib:g}"
    return [*lines, _line("peak", memory.peak, f"{overhead}{'' if plan.fits else ': DOES NOT FIT'}")]


def _stage_remark(plan: Plan, stage: str) -> str:
    memory = plan.memory
    if stage == STEP:
        chosen, other = ("with", "without") if memory.checkpointing else ("without", "with")
        gib = memory.step_without_checkpointing if memory.checkpointing else memory.step_with_checkpointing
        return f"{chosen} gradient checkpointing; {other} {gib:.2f}"
    return "in tiles" if stage == "decode" and memory.tiled else ""


def _seconds_lines(plan: Plan) -> list[str]:
    calls, seconds = plan.per_call, plan.seconds
    return [
        _line("rollout", seconds.rollout, f"{calls[plan.ode_call]:.3f} a velocity"),
        _line("decode", seconds.decode, f"{calls['decode']:.2f} a video"),
        _line("reward", seconds.reward, f"{calls['reward']:.2f} a video"),
        _line("trained step", seconds.step, f"{calls['trained']:.2f} forward and backward"),
        _line("update", seconds.update, ""),
    ]


def _line(name: str, number: float, remark: str) -> str:
    return f"  {name:16}{number:>9,.2f}   {remark}".rstrip()


def _time_line(plan: Plan) -> str:
    beside = f"beside {plan.start_s / 60:.0f} minutes to start and {plan.evaluations_s / 60:.0f} for two evaluations"
    whole = (plan.start_s + plan.evaluations_s + plan.updates_asked * plan.seconds.update) / 3600
    done = f"in {plan.hours:g} hours: {plan.updates} of the recipe's {plan.updates_asked} updates"
    return f"{done}, {plan.samples:,} videos, {beside}; all updates take {whole:,.1f} hours"
