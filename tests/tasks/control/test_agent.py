"""What an agent remembers, and the targets that it sets, against the equations of C51 written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from torchsid.tasks.control.agent import Agent
from torchsid.tasks.control.task import Control


def network(inputs: Tensor) -> Tensor:
    """Beliefs `[3, B, 2, 21]` of two stages that follow from the observation."""
    generator = torch.Generator().manual_seed(5)
    logits = inputs[:, :4] @ torch.randn(4, 3 * 2 * 21, generator=generator)
    return logits.view(-1, 3, 2, 21).transpose(0, 1).log_softmax(-1)


def agent_of(**settings: object) -> Agent:
    given = {"atoms": 21, "low": -3.0, "high": 5.0, "replay": 60, "environments": 3, "steps": 4, "exploration": 24, **settings}
    found = Control(**given).load(7).collector
    assert isinstance(found, Agent)
    return found


@pytest.mark.parametrize("target", ["projection", "hl-gauss"])
def test_targets_are_the_backup_of_the_last_stage(target: str) -> None:
    agent = agent_of(target=target, discount=0.9)
    rows = torch.tensor([3, 58, 17, 0])
    before = agent.samples.target[:].clone()
    agent.collect(network, rows)
    assert agent.samples.weight is not None
    assert torch.equal(agent.samples.weight.sum(1), torch.ones(60))
    inputs, found, centres = agent.samples.inputs[:], agent.samples.target[:], agent.bins.centres(torch.zeros(()))
    for row in rows.tolist():
        after, action, reward, terminal = inputs[row, 4:8], int(inputs[row, 8]), float(inputs[row, 9]), bool(inputs[row, 10])
        belief = network(after[None])[-1, 0].exp()  # [A, C]
        best = belief[(belief * centres).sum(-1).argmax()]
        expected = torch.zeros(21)
        if target == "hl-gauss":
            expected = agent.bins.hl_gauss(torch.tensor(reward + 0.9 * (not terminal) * float(best @ centres)))
        else:
            for atom, mass in zip(centres.tolist(), best.tolist(), strict=True):
                value = min(max(reward + 0.9 * (not terminal) * atom, centres[0].item()), centres[-1].item())
                expected += mass * (1 - (value - centres).abs() / agent.bins.width).clamp(min=0)
        torch.testing.assert_close(found[row, action], expected, atol=1e-5, rtol=0)
    others = torch.ones(60, dtype=torch.bool).index_fill(0, rows, False)
    assert torch.equal(found[others], before[others])


def test_the_newest_steps_take_the_place_of_the_oldest() -> None:
    agent = agent_of(last_exploration=0.0)
    first = agent.samples.inputs[:].clone()
    for collected in range(1, 8):  # 12 steps each, of 60
        told = agent.collect(network, torch.arange(60))
        assert told["exploration"] == pytest.approx(max(0.0, 1 - 12 * (collected - 1) / 24))
        now = agent.samples.inputs[:]
        new = torch.arange(12 * (collected - 1), 12 * collected) % 60
        if collected < 6:
            assert torch.equal(now[12 * collected :], first[12 * collected :])
        if collected > 3:  # ε is 0
            best = (network(now[new])[-1].exp() @ agent.bins.centres(now)).argmax(-1)
            assert torch.equal(now[new, 8].long(), best)
    assert int(agent.state()["agent:taken"]) == 84


def test_the_next_observation_is_the_one_of_the_next_step_unless_an_episode_ends() -> None:
    inputs = agent_of(environments=1, replay=200).samples.inputs[:]
    same = (inputs[:-1, 4:8] == inputs[1:, :4]).all(1)
    assert torch.equal(same, inputs[:-1, 10] == 0)
    assert 5 < (~same).sum() < 20  # episodes of a random agent have about 22 steps


def test_every_stage_plays_by_its_own_belief_and_the_prior_at_random() -> None:
    def one_way(inputs: Tensor) -> Tensor:
        """A first stage that falls at once, a last one that looks where the pole leans."""
        push = torch.stack([torch.zeros(len(inputs)), torch.ones(len(inputs)), (inputs[:, 2] + inputs[:, 3] > 0).float()])
        logits = torch.zeros(3, len(inputs), 2, 21)
        logits[..., 0, 20], logits[..., 1, 20] = 9 * (1 - push), 9 * push
        return logits.log_softmax(-1)

    agent = agent_of(validation=4, test=0, discount=0.9)
    samples, scores = agent.try_out(one_way, "validation")
    random, first, last = scores["return"]
    assert 8 <= first <= 11 < random < 60 < last
    assert agent.try_out(one_way, "validation")[1] == scores
    assert samples.weight is not None
    taken = samples.weight.argmax(1)
    assert torch.equal(taken, (samples.inputs[:][:, 2] + samples.inputs[:][:, 3] > 0).long())
    came = samples.target[:][torch.arange(len(taken)), taken] @ agent.bins.centres(torch.zeros(()))
    assert came.max() == agent.bins.centres(torch.zeros(()))[-1]  # 10 is beyond the support
    assert not len(agent.try_out(one_way, "test")[0])


def test_returns_of_episodes_are_discounted_to_their_ends() -> None:
    agent = agent_of(low=0.0, high=60.0, atoms=61, discount=0.5, max_steps=6, validation=2)

    def falls(inputs: Tensor) -> Tensor:
        logits = torch.zeros(2, len(inputs), 2, 61)
        logits[-1, :, 1, 40] = 60.0
        return logits.log_softmax(-1)

    samples, _ = agent.try_out(falls, "validation")
    came = (samples.target[:][:, 1] @ agent.bins.centres(torch.zeros(()))).view(2, 6)
    behind = agent.bins.centres(torch.zeros(()))[40].item()
    expected = [sum(0.5**k for k in range(left)) + 0.5**left * behind for left in range(6, 0, -1)]
    np.testing.assert_allclose(came.numpy(), [expected] * 2, atol=0.02)
