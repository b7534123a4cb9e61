"""Environments are where their seeds and actions have led; what is no fitting environment is refused by name."""

import sys

import gymnasium
import numpy as np
import pytest
import torch

from torchsid.errors import DataError
from torchsid.tasks.control.environments import Environments, kind_of, play

SEEDS = np.array([3, 4, 5])


def test_an_environment_says_what_it_is() -> None:
    kind = kind_of("CartPole-v1")
    assert (kind.actions, kind.first, kind.width, kind.limit) == (2, 0, 4, 500)
    assert kind_of("Acrobot-v1", 7).make().spec.max_episode_steps == 7


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("CartPole-v99", "gymnasium cannot make it"),
        ("CratPole-v1", "Did you mean: `CartPole`"),
        ("no such thing", "gymnasium cannot make it"),
        ("Pendulum-v1", "its actions are Box.*choose an environment with Discrete actions"),
        ("MountainCarContinuous-v0", "its actions are Box"),
        ("Blackjack-v1", "it shows Tuple.*; its episodes have no limit of steps: set data.max_steps"),
    ],
)
def test_others_are_refused_by_name(name: str, problem: str) -> None:
    with pytest.raises(DataError, match=f"data.name = '{name}': .*{problem}"):
        kind_of(name)


def test_without_gymnasium_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(DataError, match=r"pip install 'torchsid\[control\]'"):
        kind_of("CartPole-v1")


def test_steps_are_those_of_gymnasium() -> None:
    own, theirs = Environments(kind_of("Acrobot-v1"), SEEDS), gymnasium.make("Acrobot-v1")
    seen, _ = theirs.reset(seed=4)
    for action in (2, 0, 1, 1):
        np.testing.assert_array_equal(own.observations[1], seen.astype(np.float32))
        seen, reward, *_ = theirs.step(action)
        assert own.step(1, action) == (reward, False, False)
    assert own.returns.tolist() == [0, -4, 0]


def test_a_copy_of_the_state_leads_to_the_same_place() -> None:
    own, other = (Environments(kind_of("CartPole-v1"), seeds) for seeds in (SEEDS, SEEDS + 9))
    for _ in range(5):
        own.step(0, 1)
    own.begin(2, 77)
    own.step(2, 0)
    for name, held in other.state().items():
        held.copy_(own.state()[name])
    other.restore()
    np.testing.assert_array_equal(other.observations, own.observations)
    np.testing.assert_array_equal(other.returns, own.returns)
    assert other.lengths.tolist() == [5, 0, 1]
    assert other.step(0, 0) == own.step(0, 0)


def test_episodes_are_played_to_their_ends() -> None:
    short, cut = (play(kind_of("CartPole-v1", most), SEEDS, lambda seen: np.ones(len(seen), np.int64)) for most in (0, 5))
    for episode in short:
        assert episode.terminal
        assert len(episode.observations) == len(episode.rewards) + 1 == len(episode.actions) + 1
        assert 8 <= episode.rewards.sum() <= 11  # a pole that is pushed one way alone
        assert abs(torch.tensor(episode.observations[-1][2])) > 0.2095  # the angle at which it counts as fallen
    assert [(len(each.rewards), each.terminal) for each in cut] == [(5, False)] * 3
