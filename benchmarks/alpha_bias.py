"""Compute what α costs an ideal cascade on a source that is known, and draw it.

    python benchmarks/alpha_bias.py --out docs/images/alpha-bias.svg

The source is a Markov chain of 32 symbols. Each stage has the belief that minimises its loss, for every symbol before; what its
answer loses is `Σ_s π_s KL(p*(·|s) ‖ p_i(·|s))` nats a token, with the stationary distribution π. Nothing is trained.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from torchsid.core.beliefs import forward_kl, uniform_prior
from torchsid.core.objective import Alpha, LocalObjective
from torchsid.show.plots.curves import Line, curves
from torchsid.show.svg import standalone

SYMBOLS, STAGES = 32, 4
SCHEDULES: dict[str, Alpha] = {"α = 0.5": 0.5, "step:0.5:1": "step:0.5:1", "ends:1:0.75": "ends:1:0.75"}


def source() -> Tensor:
    """Return the chain's transitions as log-probabilities, `[S, S]`, float64; the next symbol has an entropy of about 1.5 nats."""
    scores = torch.randn(SYMBOLS, SYMBOLS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (3 * scores).log_softmax(-1)


def losses(log_next: Tensor, alpha: Alpha, stages: int) -> list[float]:
    """Return what the answer after each stage loses, in nats a token."""
    objective = LocalObjective(alpha=alpha)
    stationary = torch.linalg.matrix_power(log_next.exp(), 1000)[0]
    log_belief, found = uniform_prior(len(log_next)).to(log_next).expand_as(log_next), []
    for each in objective.alphas(stages):
        log_belief = objective.minimiser(log_next, log_belief, each)
        found.append(max(float(stationary @ forward_kl(log_belief, log_next)), 0.0))  # but for rounding
    return found


def main() -> None:
    """Print the table, and write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the figure")
    out = parser.parse_args().out
    stages = range(1, STAGES + 1)
    found = {name: losses(source(), alpha, STAGES) for name, alpha in SCHEDULES.items()}
    for name, values in found.items():
        print(f"{name:12}", *(f"{value:.3f}" for value in values))
    if out:
        lines = [Line(name, list(stages), values) for name, values in found.items()]
        out.write_text(
            standalone(curves("What an ideal cascade loses", lines, x="answer after stage", y="nats a token", bottom=0.0))
        )


if __name__ == "__main__":
    main()
