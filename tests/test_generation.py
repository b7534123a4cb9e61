"""A text is continued token by token, each by the first stage that is sure of what follows the last one."""

from itertools import islice

import pytest
import torch

from torchsid import StagedCascade, staged_cascade
from torchsid.anytime import ExitRule, confidence
from torchsid.errors import ConfigError, NonFiniteError
from torchsid.generation import Sampling, TextGenerator, Token
from torchsid.models.classifiers.gpt import GPT

CONTEXT, SIZE = 8, 12
GREEDY = Sampling(temperature=0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cascade() -> StagedCascade:
    torch.manual_seed(0)
    example = torch.zeros(2, CONTEXT, dtype=torch.int64)
    model = GPT(example, SIZE, width=16, blocks=3, heads=2)
    torch.nn.init.normal_(model.readout.weight, std=2.0)  # surer than a network that has learnt nothing
    found = staged_cascade(model, SIZE, 3, example).eval()
    for head in found.heads[:-1]:
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter)
    return found


def test_each_token_is_of_the_first_stage_that_is_sure_at_the_last_place_and_later_ones_do_not_run(cascade: StagedCascade) -> None:
    some = cascade.log_beliefs(torch.randint(SIZE, (40, CONTEXT), generator=rng())).detach()
    rule, seen = ExitRule("confidence", float(confidence(some[1, :, -1]).median())), torch.tensor([3, 1])
    ran: list[int] = []
    for stage, head in enumerate(cascade.heads, 1):
        head.register_forward_hook(lambda *_, stage=stage: ran.append(stage))
    stages = []
    for token in islice(TextGenerator(cascade, CONTEXT, str(rule), Sampling(temperature=3.0))(seen, rng()), 20):
        assert ran == list(range(1, token.stage + 1))
        log_beliefs = cascade.log_beliefs(seen[-CONTEXT:][None])[1:, 0, -1].detach()  # [L, V]
        sure = [bool(rule(each[None])) for each in log_beliefs]
        assert token.stage == token.computed == 1 + [*sure[:-1], True].index(True)
        assert token.belief == pytest.approx(float(log_beliefs[token.stage - 1, token.id].exp()), rel=1e-4)
        seen = torch.cat([seen, torch.tensor([token.id])])
        ran.clear()
        stages.append(token.stage)
    assert len(set(stages)) > 1


def test_without_a_rule_the_networks_own_answer_is_taken(cascade: StagedCascade) -> None:
    prompt = torch.arange(11)  # more than is read

    def of(network: torch.nn.Module, rule: str = "") -> list[Token]:
        return list(islice(TextGenerator(network, CONTEXT, rule, GREEDY)(prompt, rng()), 5))

    assert {token.stage for token in of(cascade)} == {3}
    own = [(token.id, token.belief) for token in of(cascade)]
    assert own == [(token.id, token.belief) for token in of(cascade.model)]
    assert [token.id for token in of(cascade, "confidence>1")] == [token.id for token in of(cascade)]


def test_what_is_drawn_follows_from_the_seed(cascade: StagedCascade) -> None:
    generate = TextGenerator(cascade, CONTEXT, sampling=Sampling(temperature=3.0))
    first, again, other = (list(islice(generate(torch.tensor([1]), rng(seed)), 30)) for seed in (5, 5, 6))
    assert first == again != other


def test_temperature_and_top_k_shape_what_is_drawn() -> None:
    log_belief, generator = torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), rng()

    def shares(sampling: Sampling) -> list[float]:
        drawn = torch.tensor([sampling.choose(log_belief, generator) for _ in range(2000)])
        return (torch.bincount(drawn, minlength=4) / 2000).tolist()

    assert shares(Sampling()) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)
    assert shares(Sampling(temperature=0.5, top_k=2)) == pytest.approx([25 / 34, 9 / 34, 0, 0], abs=0.04)
    assert shares(Sampling(temperature=0)) == [1, 0, 0, 0]
    assert shares(Sampling(top_k=1)) == [1, 0, 0, 0]


def test_what_cannot_be_generated_with_is_named(cascade: StagedCascade) -> None:
    with pytest.raises(ConfigError, match=r"confidence>0\.95"):
        TextGenerator(cascade, CONTEXT, "surely")
    with pytest.raises(ValueError, match="EarlyExit"):
        TextGenerator(cascade.model, CONTEXT, "confidence>0.5")
    torch.nn.init.constant_(cascade.model.readout.weight, torch.nan)
    with pytest.raises(NonFiniteError, match="diverged"):
        next(TextGenerator(cascade, CONTEXT)(torch.tensor([1]), rng()))
