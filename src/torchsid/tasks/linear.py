"""What is linear in the inputs, a floor for small networks: ridge regression of numbers, logistic regression of classes."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from torchsid.tasks.domain import PARTS, Floor, Samples, Splits
from torchsid.tasks.numbers import Said, errors

_PENALTIES = tuple(10.0**power for power in range(-3, 6))
_USUAL = 1.0  # penalty, where there is no validation part to choose one
_MOST = 2**24  # numbers of the training part; of more it would take long
_STEPS = 200  # of L-BFGS

Answer = Callable[[Tensor], Tensor]
"""From inputs `[n, F]` to numbers `[n]`, or to log-beliefs `[n, C]`."""


def floor_of(splits: Splits, prepare: Callable[[Tensor], Tensor]) -> Floor | None:
    """Return what a linear fit on the inputs of a network reaches, with the penalty that validation chooses; None of very many."""
    train, of_classes = splits.train, splits.train.value is None
    if train.inputs.shape.numel() > _MOST:
        return None
    parts = {part: samples for part in PARTS if len(samples := getattr(splits, part))}
    x = {part: prepare(samples.inputs[:]).flatten(1).double() for part, samples in parts.items()}
    if train.value is None:
        fit = logistic(x["train"], torch.eye(splits.about["num_classes"], dtype=torch.float64)[train.target[:]])
    else:
        fit = ridge(x["train"], train.value)
    judge, penalties, chosen = "validation", _PENALTIES, " chosen on validation"
    if judge not in parts:
        judge, penalties, chosen = "train", (_USUAL,), ""
    fits = {penalty: fit(penalty) for penalty in penalties}
    worst = {penalty: _scores(parts[judge], answer(x[judge]))["kl" if of_classes else "rmse"] for penalty, answer in fits.items()}
    best = min(worst, key=worst.__getitem__)
    scores = {part: _scores(samples, fits[best](x[part])) for part, samples in parts.items() if part != "train"}
    name = "logistic regression" if of_classes else "ridge regression"
    return Floor(name, f"linear in the inputs, penalty {best:g}{chosen}", scores)


def ridge(x: Tensor, y: Tensor) -> Callable[[float], Answer]:
    """Return from a penalty λ the fit that minimises `‖Xw + b − y‖² + λ‖w‖²`; x is `[N, F]`, y `[N]`, both float64."""
    centre, level = x.mean(0), y.mean()
    values, vectors = torch.linalg.eigh((x - centre).mT @ (x - centre))
    aimed = vectors.mT @ ((x - centre).mT @ (y - level))

    def fit(penalty: float) -> Answer:
        weights = vectors @ (aimed / (values + penalty))
        return lambda inputs: torch.addmv(level, inputs - centre, weights)

    return fit


def logistic(x: Tensor, y: Tensor) -> Callable[[float], Answer]:
    """Return from λ the fit that minimises `Σ −log softmax(Wx + b)_y + λ/2 ‖W‖²`; y is one-hot, `[N, C]`, float64 as x."""

    def fit(penalty: float) -> Answer:
        weights = x.new_zeros(y.shape[1], x.shape[1], requires_grad=True)
        bias = x.new_zeros(y.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(F.linear(x, weights, bias), y) + penalty / 2 * (weights**2).sum() / len(x)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        return lambda inputs: F.linear(inputs, weights.detach(), bias.detach()).log_softmax(-1)

    return fit


def _scores(samples: Samples, answer: Tensor) -> Mapping[str, float]:
    if samples.value is None:
        target = samples.target[:]
        right = (answer.argmax(-1) == target).double().mean()
        return {"kl": F.nll_loss(answer, target).item(), "accuracy": right.item()}
    said = Said(*[answer.unsqueeze(0)] * 3)
    found = errors(said, samples.value, torch.full_like(samples.value, 1 / len(samples)))
    return {name: values[0] for name, values in found.items() if name != "coverage"}
