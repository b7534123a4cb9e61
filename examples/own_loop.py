"""A training loop of your own: cut a network into stages, train them without a global backward pass, deploy the network alone.

python examples/own_loop.py
"""

import torch
from safetensors.torch import save_model
from torch import nn

import torchsid
from torchsid.tasks.images.task import Images

torch.manual_seed(0)
digits = Images(name="digits").load(seed=0)  # 1,797 digits of 8x8 pixels, which come with the package
x, target = digits.train.inputs[:].flatten(1) / 255, digits.train.target[:]

network = nn.Sequential(
    *(part for width in (64, 128, 128) for part in (nn.Linear(width, 128), nn.ReLU())),
    nn.Linear(128, 10),
)
cascade = torchsid.staged_cascade(network, num_classes=10, stages=["1", "3"], example=x[:2])
print(cascade.plan)
print(torchsid.check_locality(torchsid.SID(cascade), x[:16], target[:16]))  # proved on these tensors

learner = torchsid.SID(cascade)
optimizer = torch.optim.AdamW(cascade.parameters(), lr=3e-3)
for epoch in range(1, 9):
    cascade.train()
    for rows in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        out = learner.backward(x[rows], target[rows])  # was: loss = criterion(network(x), target); loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss by stage {[round(loss, 3) for loss in out.stage_losses.tolist()]}")

cascade.eval()
held_out, answer = digits.test.inputs[:].flatten(1) / 255, digits.test.target[:]
for stage, log_belief in enumerate(learner.log_beliefs(held_out)[1:], 1):
    print(f"stage {stage}: {(log_belief.argmax(-1) == answer).float().mean():.1%} of the test digits")

save_model(network, "network.safetensors")  # the plain network; the heads can be dropped
