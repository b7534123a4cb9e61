"""Forward-Forward: every layer tells true labels from false ones by the size of its activity (Hinton 2022)."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule, check_layers
from torchsid.settings import checked

_PEERS = 0.03  # how strongly units that are less active than their layer are pulled up
_KEPT = 0.9  # of a unit's mean activity from step to step
_NO_ACTIVITY = 1e-8

Inference = Literal["head", "goodness"]


class GoodnessNetwork(nn.Module):
    """A perceptron that reads a label in the first C numbers of its input.

    Every layer reads what the one before makes, of root mean square 1. It answers by a linear layer on the activities of all hidden
    layers but the first, with the neutral label, 1/C everywhere; or it reads every label in turn, and the summed squares of the
    same activities are the logits.

    Args:
        network: linear layers with an activation behind each; its last one is not used.
        inference: how it answers.

    Raises:
        ValueError: it has convolutions, fewer than two hidden layers, or fewer inputs than classes; all problems at once.
    """

    def __init__(self, network: Layered, inference: Inference) -> None:
        super().__init__()
        self.num_classes, self.inference = network.num_classes, inference
        self.layers = nn.ModuleList(network.layers[:-1])
        widths = [size.numel() for size in network.sizes[1:-1]]
        if problems := list(_problems(network)):
            raise ValueError(f"ForwardForward trains perceptrons, and this network {'; '.join(problems)}: take another network")
        like = next(network.parameters())
        self.head = nn.Linear(sum(widths[1:]), self.num_classes, device=like.device, dtype=like.dtype)
        for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
            nn.init.normal_(linear.weight, std=0.0 if linear is self.head else linear.in_features**-0.5)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        for i, width in enumerate(widths):
            self.register_buffer(f"mean_activity_{i}", like.new_full((width,), 0.5).detach())

    @property
    def depth(self) -> int:
        """The number of losses: one a hidden layer, and the head's."""
        return len(self.layers) + 1

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of hidden layer `stage` (from 0), or behind the last those of the head, under their names here."""
        if stage == len(self.layers):
            return self.head.named_parameters(prefix="head")
        return self.layers[stage].named_parameters(prefix=f"layers.{stage}")

    def labelled(self, x: Tensor, label: Tensor) -> Tensor:
        """Return inputs with the labels `[B, C]` in their first numbers, `[B, n_0]`."""
        return torch.cat([label.to(x.dtype), x.flatten(1)[:, self.num_classes :]], 1)

    def layer(self, i: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input `a` of a layer's activation and its activity `f(a)`, `[B, n]`, given the activity before it."""
        layer: Any = self.layers[i]
        behind = 1 + next(place for place, module in enumerate(layer) if isinstance(module, nn.Linear))
        a = layer[:behind](normalised(h.detach()))
        return a, layer[behind:](a)

    def activities(self, x: Tensor, label: Tensor) -> Iterator[Tensor]:
        """Yield the activity of each hidden layer, `[B, n_l]`."""
        h = self.labelled(x, label)
        for i in range(len(self.layers)):
            _, h = self.layer(i, h)
            yield h

    def answer(self, x: Tensor) -> Tensor:
        """Return the head's logits for the neutral label, `[B, C]`; no gradient goes back into the layers."""
        neutral = x.new_full((len(x), self.num_classes), 1 / self.num_classes)
        with torch.no_grad():
            read = torch.cat([normalised(h) for h in [*self.activities(x, neutral)][1:]], 1)
        logits: Tensor = self.head(read)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, C]`."""
        if self.inference == "head":
            return self.answer(x)
        each = torch.eye(self.num_classes, device=x.device, dtype=x.dtype)
        passes = ([*self.activities(x, label.expand(len(x), -1))][1:] for label in each)
        return torch.stack([sum((goodness(h) for h in hidden[1:]), goodness(hidden[0])) for hidden in passes], 1)


class ForwardForward(Rule):
    """Trains a perceptron layer by layer: activities are large if the label in the input is true, and small if not.

        h_0 = [label, x_{C+1 …}];   h_l = f(W_l x_l + b_l),   x_l = sg(h_{l−1}) / rms(h_{l−1});   G_l = Σ h_l²,   p = σ(G_l − n_l)
        L_l = −log p(true label) − log(1 − p(false label));    ∂L_l/∂W_l = −2 (1−p) h x_lᵀ for the true, 2 p h x_lᵀ for the false

    The false label is drawn by the probabilities of the head, the true class left out; the head learns from its own cross-entropy.
    Peers: `0.03 (m − m_j)` is added to what raises the input of unit j for true labels, m_j being its running mean activity and m
    that of the layer; for silent units too.

    Source: G. Hinton, arXiv 2212.13345; details as in ports of the author's code. Stored: one layer, for twice the batch. Locked:
    forward. Simplified: the running mean is that of the steps before. Weights are drawn anew, `W ~ N(0, 1/n)`. It cannot train
    convolutions, nor learn from probability rows; `inference = "goodness"` takes C passes. No augmentation moves a label: it is
    written over the first C pixels afterwards.

    Args:
        network: a perceptron of two hidden layers or more, of which the last layer is not used.
        inference: A linear layer reads the activities with a neutral label, or the label of the largest goodness is taken.
    """

    networks: ClassVar[tuple[str, ...]] = ("layered",)
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    needs_classes: ClassVar[bool] = True
    needs_whole_samples: ClassVar[bool] = True
    takes_positions: ClassVar[bool] = False
    answers_in_training: ClassVar[bool] = False  # a step tells the head's belief, which is the answer of one kind of inference
    draws_noise: ClassVar[bool] = True
    moves_buffers = True
    module: GoodnessNetwork
    window: int | None = 1

    @checked
    def __init__(self, network: Layered, *, inference: Inference = "head") -> None:
        self.module = GoodnessNetwork(check_layers(network, type(self).__name__), inference)
        self.lookout = Lookout(self.module)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let the head learn from a neutral pass, then every layer from true and false labels at once."""
        network, x, count = self.module, batch.x, len(batch.x)
        logits = network.answer(x)
        head_loss = batch.cross_entropy(logits)
        batch.differentiate(-1, head_loss)
        false = F.one_hot(false_classes(logits.detach(), batch.target), network.num_classes)
        h, losses = torch.cat([network.labelled(x, batch.target), network.labelled(x, false)]), list[Tensor]()
        for i in range(len(network.layers)):
            a, h = network.layer(i, h)
            excess = goodness(h) - h.shape[1]
            loss = batch.mean(F.softplus(-excess[:count])) + batch.mean(F.softplus(excess[count:]))
            pulled = batch.mean((a[:count] * self.pull(i)).sum(-1))
            batch.differentiate(i, loss - pulled)
            h = h.detach()
            self.follow(i, batch, h[:count])
            losses.append(loss)
        return [*losses, head_loss], [logits]

    def pull(self, layer: int) -> Tensor:
        """Return what is added to each unit's activity to keep it up with its peers, `[n]`."""
        mean = self.module.get_buffer(f"mean_activity_{layer}")
        return _PEERS * (mean.mean() - mean)

    def follow(self, layer: int, batch: Batch, h: Tensor) -> None:
        """Bring the mean activities up to date, unless no sample counts."""
        mean = self.module.get_buffer(f"mean_activity_{layer}")
        now = h.to(mean).masked_fill((batch.share == 0).unsqueeze(1), 0.0).mul(batch.share.to(mean).unsqueeze(1)).sum(0)
        mean.copy_(torch.where(batch.share.any(), mean.lerp(now, 1 - _KEPT), mean))


def normalised(h: Tensor) -> Tensor:
    """Return activities of root mean square 1, `[B, n]`."""
    return h / (h.square().mean(1, keepdim=True).sqrt() + _NO_ACTIVITY)


def goodness(h: Tensor) -> Tensor:
    """Return the sum of squared activities, `[B]`."""
    return h.square().sum(1)


def false_classes(logits: Tensor, target: Tensor) -> Tensor:
    """Return classes `[B]` drawn by the softmax of the logits `[B, C]` without the class of the one-hot target."""
    others = logits.to(target.dtype).masked_fill(target > 0, -torch.inf)
    gumbel = -torch.empty_like(others).exponential_().log()  # so that no probability underflows, however sure the head is
    return (others + gumbel).argmax(-1)


def _problems(network: Layered) -> Iterator[str]:
    kinds = (type(module) for layer in network.layers[:-1] for module in layer if any(p.dim() > 1 for p in module.parameters()))
    if others := sorted({kind.__name__ for kind in kinds if kind is not nn.Linear}):
        yield f"has other layers, {', '.join(others)}"
    if network.depth < 3:
        yield "has one hidden layer, where two are the least"
    if (inputs := network.sizes[0].numel()) < network.num_classes:
        yield f"reads {inputs} numbers, of which the label takes {network.num_classes}"
