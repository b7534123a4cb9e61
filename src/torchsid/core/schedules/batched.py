"""The batched schedule: all stages of a shared cascade differentiated at once.

Once the teacher pass has run, the input of every stage is known, so the L local problems are one batched problem. Two ways:

* stages with the paper's MLP heads: the gradient in closed form (`mlp_stack`), which needs no second forward pass;
* any other stages of equal structure: `torch.func.vmap` over their stacked parameters.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from torchsid.core.beliefs import mean, to_log_belief
from torchsid.core.cascade import Cascade, Stage
from torchsid.core.learner import StepOutput
from torchsid.core.schedules import mlp_stack
from torchsid.core.schedules.accumulate import accumulate
from torchsid.core.schedules.step import Step
from torchsid.errors import ScheduleError


def batched(step: Step[Cascade]) -> StepOutput:
    """Fill `.grad` of every parameter with all stages stacked.

    The extractor runs once: dropout draws one mask and BatchNorm updates its running statistics once. In closed form the stages
    too run once; `vmap` runs them a second time, where dropout inside a stage draws masks of its own.

    Raises:
        ScheduleError: the stages differ in structure, share parameters, or make features of their own.
    """
    heads = mlp_stack.heads_of(step.cascade)
    if not heads:
        _check_stackable(step.cascade)
    z = step.cascade.features(step.x)
    output = mlp_stack.differentiate(step, heads, z) if mlp_stack.applies(heads, z) else _differentiate_by_vmap(step, z)
    if z.requires_grad:
        z.backward(step.combiner.result())  # type: ignore[no-untyped-call]
    for stage in range(step.cascade.depth + 1):
        step.on_trained(stage)
    return output


def _differentiate_by_vmap(step: Step[Cascade], z: Tensor) -> StepOutput:
    cascade, objective = step.cascade, step.objective
    with torch.no_grad():
        log_beliefs = cascade.refine(z)[1]  # [L+1, B, C]
    torch.clear_autocast_cache()
    teachers = log_beliefs[:-1]
    stages = [stage for stage in cascade.stages if isinstance(stage, Stage)]
    parameters, buffers = stack_module_state(stages)  # each [L, ...]
    leaves = z.detach().expand(cascade.depth, *z.shape).requires_grad_(z.requires_grad)

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor], features: Tensor, log_previous: Tensor) -> Tensor:
        logits: Tensor = functional_call(stages[0], (parameters, buffers), (features, log_previous))[1]
        return logits

    logits = vmap(run, randomness="different")(parameters, buffers, leaves, teachers)  # [L, B, C]
    alphas = torch.tensor(objective.alphas(cascade.depth), dtype=step.log_target.dtype, device=z.device).unsqueeze(-1)  # [L, 1]
    log_answers = to_log_belief(logits)
    losses = torch.stack([mean(each, step.weight) for each in objective(log_answers, step.log_target, teachers, alphas)])  # [L]
    for i, (loss, log_belief) in enumerate(zip(losses.detach(), log_answers.detach(), strict=True)):
        step.on_loss(i, loss)
        step.on_belief(i, log_belief)
    wanted = [tensor for tensor in (*parameters.values(), leaves) if tensor.requires_grad]
    if wanted:  # not so for frozen stages on a frozen extractor
        (step.scales * losses).sum().backward(inputs=wanted)  # type: ignore[no-untyped-call]

    for name, stacked in parameters.items():
        if stacked.grad is not None:
            accumulate([stage.get_parameter(name) for stage in stages], stacked.grad)
    if leaves.grad is not None:
        for gradient in leaves.grad:
            step.combiner.add(gradient)
    return StepOutput(losses.detach(), log_beliefs[-1])


def _check_stackable(cascade: Cascade) -> None:
    first = _structure(cascade.stages[0])
    seen: dict[int, int] = {}
    problems = []
    for i, stage in enumerate(cascade.stages):
        if type(stage) is not Stage:
            problems.append(f"stage {i + 1} is a {type(stage).__name__}, which may make features of its own")
        elif _structure(stage) != first:
            problems.append(f"stage {i + 1} differs in structure from stage 1")
        for name, parameter in stage.named_parameters():
            owner = seen.setdefault(id(parameter), i)
            if owner != i:
                problems.append(f"stages {owner + 1} and {i + 1} share the parameter {name}")
    if problems:
        raise ScheduleError(
            f"schedule 'batched' stacks the stages, but {'; '.join(problems)}: use schedule='streaming', which takes any"
        )


def _structure(stage: nn.Module) -> tuple[str, list[tuple[str, torch.Size, bool]]]:
    """Return what two stages must have in common to be stacked: printed form, and name, shape and mode of every parameter."""
    return repr(stage), [(name, parameter.shape, parameter.requires_grad) for name, parameter in stage.named_parameters()]
