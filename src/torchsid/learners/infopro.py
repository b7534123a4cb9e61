"""InfoPro: every stage keeps its input and tells the classes apart, by a decoder and a contrast (Wang et al. 2021)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.heads.features import MapNorm, mean_over_positions
from torchsid.settings import Temperature, checked


class InfoPro(StageRule):
    """Trains every stage but the last on what its features say about the input and the class, and the last on the class.

        L_i = λ₁(i) · BCE(d_i(h_i), x′) + λ₂(i) · T_i,     L_L = KL(p_y ‖ p_L),     x′ = (x − min x) / (max x − min x)

    `T_i` is the cross-entropy of the head, or a supervised contrast between the samples of a batch, in which P(a) are those of the
    class of a, and `z = proj_i(h_i) / ‖proj_i(h_i)‖`:

        T_i = mean_a 1/|P(a)| Σ_{b∈P(a)} −log( exp(z_a·z_b/τ) / Σ_{c≠a} exp(z_a·z_c/τ) )

    With the contrast the head, which the paper does not have there, learns to answer from `sg(h_i)`: it trains no trunk, and
    its cross-entropy is part of the reported loss. λ₁ and λ₂ run linearly over the stages but the last.

    Inputs are normalised, and the decoder makes numbers from 0 to 1. `min x` and `max x` are those of each channel in all
    batches so far, for images black and white, so that x′ is the image. They are buffers of the first head.

    Source: Y. Wang et al., arXiv 2101.10832, ICLR 2021; the default λ are the paper's for 16 stages. Stored: one stage, its head
    and its decoder. Locked: forward. Simplified: the projection of maps has one convolution of stride 2 to 64 channels. Vectors,
    and maps where the inputs are none, have a linear decoder. It does not take tokens or other inputs that are not numbers.

    Args:
        cascade: a staged cascade, made by `staged_cascade` with an example of the inputs.
        task: `T_i`: `contrast` or `cross-entropy`.
        reconstruction: λ₁ of the first stage and of the last but one.
        classification: λ₂ of them.
        temperature: τ.

    Raises:
        ValueError: inputs or features are of a kind that no decoder here makes or reads, or λ are not two numbers of 0 or more.
    """

    takes_positions = False

    @checked
    def __init__(
        self,
        cascade: StagedCascade,
        *,
        task: Literal["contrast", "cross-entropy"] = "contrast",
        reconstruction: list[float] = [5.0, 0.2],  # noqa: B006 (never changed)
        classification: list[float] = [0.05, 0.5],  # noqa: B006
        temperature: Temperature = 0.07,
    ) -> None:
        super().__init__(cascade)
        self.lambda1 = _over_stages("reconstruction", reconstruction, cascade.depth)
        self.lambda2 = _over_stages("classification", classification, cascade.depth)
        self.contrasts, self.temperature = task == "contrast", temperature
        self.moves_buffers = any(self.lambda1)
        self.counts_by_weight = not self.contrasts
        inputs = torch.Size(cascade.plan.inputs if cascade.plan else ())
        self.range = Range(inputs)
        if self.moves_buffers:
            if not inputs:
                why = "reconstructs inputs of one tensor of floating point, and the network reads others"
                raise ValueError(f"InfoPro {why}: set reconstruction = [0.0, 0.0], or take another method")
            like = next(cascade.parameters())
            cascade.heads[0].add_module("range", self.range.to(like.device, like.dtype))
        self.decoders = self.add_to_heads("decoder", lambda i, features: _decoder(features, inputs) if self.lambda1[i] else None)
        contrasted = self.lambda2 if self.contrasts else [0.0] * cascade.depth
        self.projections = self.add_to_heads("projection", lambda i, features: _projection(features) if contrasted[i] else None)

    def answer(self, stage: int, tensors: list[Tensor]) -> Tensor:
        """Return the head's logits; where the contrast trains the stage, the head trains itself alone."""
        apart = self.contrasts and stage < self.module.depth - 1
        return super().answer(stage, [tensor.detach() for tensor in tensors] if apart else tensors)

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return `L_i`."""
        loss = batch.cross_entropy(logits)
        if stage == self.module.depth - 1:
            return loss
        lambda1, lambda2 = self.lambda1[stage], self.lambda2[stage]
        if not self.contrasts:
            loss = lambda2 * loss
        elif lambda2:
            loss = loss + lambda2 * contrast(self.projections[stage](features), batch, self.temperature)
        if lambda1:
            if stage == 0:
                self.range.follow(batch.x, batch.share)
            made, wanted = self.decoders[stage](features).to(batch.target), self.range(batch.x).to(batch.target)
            wrong = F.binary_cross_entropy_with_logits(made, wanted, reduction="none")
            loss = loss + lambda1 * batch.mean(wrong.flatten(1).mean(1))
        return loss


def contrast(made: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Return the supervised contrast of projections `[B, D]`, a scalar; a sample without another of its class has none.

    Samples count by their weights; of targets that are probability rows two samples are of one class by `Σ_c p_c q_c`.
    """
    share, least = batch.share, torch.finfo(batch.share.dtype).min
    own = torch.eye(len(made), dtype=torch.bool, device=made.device)
    with torch.autocast(made.device.type, enabled=False):
        z = F.normalize(made.to(batch.target), dim=1)
        close = z @ z.T / temperature
        counts = share * (share > 0).sum()  # 1 where all count the same
        others = (close + counts.log().clamp(min=least)).masked_fill(own, least)
        log_p = close - others.logsumexp(1, keepdim=True)
        alike = (batch.target @ batch.target.T * counts).masked_fill(own, 0.0)
    losses = -(alike * log_p).sum(1) / alike.sum(1).clamp(min=torch.finfo(share.dtype).tiny)
    return batch.mean(losses)


class Range(nn.Module):
    """The least and the largest value of each channel of the inputs so far."""

    low: Tensor
    high: Tensor

    def __init__(self, inputs: torch.Size) -> None:
        super().__init__()
        shape = inputs[:1] + (1,) * (len(inputs) - 1)
        self.register_buffer("low", torch.full(shape, torch.inf))
        self.register_buffer("high", torch.full(shape, -torch.inf))

    @torch.no_grad()
    def follow(self, x: Tensor, share: Tensor) -> None:
        """Take notice of the inputs `[B, channels, ...]` whose share is not 0."""
        left_out = (share == 0).view(-1, *[1] * (x.dim() - 1))
        by_channel = [x.masked_fill(left_out, bound).transpose(0, 1).flatten(1) for bound in (torch.inf, -torch.inf)]
        self.low.copy_(self.low.minimum(by_channel[0].amin(1).view_as(self.low)))
        self.high.copy_(self.high.maximum(by_channel[1].amax(1).view_as(self.high)))

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs `[B, channels, ...]` as numbers from 0 to 1; ½ in a channel that has been the same throughout."""
        width = self.high - self.low
        return torch.where(width > 0, (x - self.low) / width, 0.5).clamp(0, 1)


def _over_stages(name: str, ends: list[float], depth: int) -> list[float]:
    """Return λ of every stage but the last, from that of the first to that of the last but one."""
    if len(ends) != 2 or not all(0 <= end < float("inf") for end in ends):
        raise ValueError(f"{name}={ends}: give two numbers of 0 or more, for the first stage and for the last but one")
    first, last = ends
    return [first + (last - first) * stage / max(depth - 2, 1) for stage in range(depth - 1)]


def _decoder(features: torch.Size, inputs: torch.Size) -> nn.Module:
    """Return a network from features to the logits of inputs from 0 to 1."""
    if len(features) == 3 and len(inputs) == 3:
        return nn.Sequential(
            nn.Upsample(size=inputs[1:], mode="bilinear"),
            nn.Conv2d(features[0], 12, 3, padding=1, bias=False),
            MapNorm(12),
            nn.ReLU(),
            nn.Conv2d(12, inputs[0], 3, padding=1),
        )
    if len(features) == 2:
        what = f"reconstructs inputs from maps and vectors, not from tokens {['B', *features]}"
        raise ValueError(f"InfoPro {what}: set reconstruction = [0.0, 0.0], cut elsewhere, or take another method")
    return nn.Sequential(nn.Flatten(), nn.Linear(features.numel(), inputs.numel()), nn.Unflatten(1, inputs))


def _projection(features: torch.Size) -> nn.Module:
    """Return a network from features to 128 numbers."""
    width, layers = features[-1], list[nn.Module]()
    if len(features) == 3:
        width = 64
        layers = [nn.Conv2d(features[0], 64, 3, 2, 1, bias=False), MapNorm(64), nn.ReLU()]
    return nn.Sequential(*layers, MeanOverPositions(), nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128))


class MeanOverPositions(nn.Module):
    """Maps, tokens and vectors as vectors."""

    def forward(self, features: Tensor) -> Tensor:
        """Return `[B, C]`."""
        return mean_over_positions(features)
