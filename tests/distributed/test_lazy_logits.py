"""Workers hand on hidden states where these are far fewer numbers than beliefs, or logits wait, and are one process."""

from functools import partial
from typing import Any

import pytest
import torch
from tests.distributed.networks import alone, pipelined, weights_of
from tests.distributed.test_readout import EXAMPLE, T, V, texts
from tests.distributed.workers import in_workers

from torchsid import StagedCascade, staged_cascade
from torchsid.core import lazy_logits
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import join
from torchsid.learners.sid import SID
from torchsid.models.classifiers.gpt import GPT
from torchsid.tasks.domain import Samples
from torchsid.training.evaluation import evaluate, samples_to_show

D = 4
CASES: dict[str, dict[str, Any]] = {
    "exact": {"size": 2, "alpha": [1.0, 0.7, 0.6]},
    "of candidates": {"size": 3, "alpha": [1.0, 0.7, 1.0], "candidates": 4},
    "residual, in parts, in chunks": {"size": 2, "alpha": 0.5, "residual": True, "micro_batches": 2, "chunk": 3 * V},
}


def language_model(residual: bool) -> StagedCascade:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"head": "readout", "max_head_share": 9.0, "by": "graph", "residual": residual}
    return staged_cascade(GPT(EXAMPLE, V, width=D, blocks=3, heads=2), V, 3, EXAMPLE, **settings)


def method_of(case: str) -> dict[str, Any]:
    return {name: CASES[case][name] for name in ("alpha", "candidates") if name in CASES[case]}


def trained(learner: SID | PipelinedSID) -> dict[str, Any]:
    losses, answers = [], []
    for number, (x, target) in enumerate(texts()):
        torch.manual_seed(number)  # as the training loop does, for what is drawn in a step
        out = learner.step(x, target.where(x != 3, -100))
        losses.append(out.stage_losses)
        answers.append(out.answers)
    held_out = Samples(*texts()[0])
    return {
        "losses": torch.stack(losses),
        "answers": torch.stack(answers),  # type: ignore[arg-type]
        "evaluated": evaluate(learner, held_out, prepare=lambda x: x),
        "shown": samples_to_show(learner, held_out, prepare=lambda x: x).get("log_beliefs"),
        **weights_of(learner),  # of workers that have settled
    }


def train(rank: int, case: str) -> dict[str, Any]:
    about = CASES[case]
    lazy_logits.CHUNK = about.get("chunk", lazy_logits.CHUNK)
    cascade = language_model(about.get("residual", False))
    with join(timeout=60) as world:
        learner = pipelined(
            cascade, world, method=method_of(case), batch_size=4, example=EXAMPLE, micro_batches=about.get("micro_batches", 1)
        )
        for asked in ({"on_belief": print}, {"target": torch.rand(4, T, V)}):
            with pytest.raises(ValueError, match="beliefs over 20 outcomes travel between workers as hidden states"):
                learner.step(**{"x": texts()[0][0], "target": texts()[0][1], **asked})
        result = trained(learner)
        learner.flush()
        world.gather(None)
        return {**result, "sent": learner.sent_bytes}


@pytest.mark.parametrize("case", CASES)
def test_workers_that_hand_on_hidden_states_are_one_process(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    about = CASES[case]
    monkeypatch.setattr(lazy_logits, "CHUNK", 3 * V)
    workers = in_workers(partial(train, case=case), about["size"])
    one = alone(language_model(about.get("residual", False)), method=method_of(case))
    expected, last = trained(one), workers[-1]
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(last["losses"], expected["losses"], **close)
    assert torch.equal(last["answers"], expected["answers"])
    for worker in workers:
        own = {name: value for name, value in worker.items() if name.startswith("weights.")}
        torch.testing.assert_close(own, {name: expected[name] for name in own}, **close)
    assert last["evaluated"]["kl"] == pytest.approx(expected["evaluated"]["kl"], abs=1e-5)
    torch.testing.assert_close(last["shown"], expected["shown"], **close)
