import torch

from torchsid.planner.measure import measure, this_machine
from torchsid.planner.presets import ModelSpec


def test_every_piece_has_its_times_and_nothing_is_disturbed() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    spec = ModelSpec(name="vit-tiny", classes=10, image_size=16, width=64, depth=2)
    speed = measure(spec, stages=2, devices=2, samples=4, optimizer="momentum")
    assert len(speed.forward) == len(speed.backward) == len(speed.heads) > 2
    assert min(*speed.forward, *speed.backward, *speed.heads, speed.bandwidth) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_part_of_this_machine_has_a_part_of_its_memory() -> None:
    one, two = this_machine(1, "float32"), this_machine(2, "float32")
    assert one.memory == 2 * two.memory
    assert one.flops["float32"] > 1e8
