"""A method of your own: every stage learns by the squared error of its probabilities. It trains and resumes like any other.

python examples/new_method.py
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

from torch import Tensor

from torchsid import training
from torchsid.core.rule import Batch, StageRule


class Brier(StageRule):
    """Every stage by the Brier score of its head, `Σ_k (p_k − y_k)²`."""

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the weighted mean over the batch."""
        return batch.mean((logits.softmax(-1) - batch.target).square().sum(-1))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where a run finds the class by its name
    settings = ["learner.name=new_method:Brier", "training.epochs=4"]
    run = training.train(training.resolve("digits-staged", settings), Path(mkdtemp()) / "brier")
    network = training.load_network(run)
    test = network.task.load(seed=0).test
    for stage, log_belief in enumerate(network.learner.log_beliefs(network.prepare(test.inputs[:]))[1:], 1):
        print(f"stage {stage}: {(log_belief.argmax(-1) == test.target[:]).float().mean():.1%} of the test digits")
    print(f"the same by command: torchsid train digits-staged --set learner.name=new_method:Brier; run: {run}")
