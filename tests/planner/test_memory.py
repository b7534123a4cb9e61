from torchsid.planner.memory import holding, message_bytes, update_seconds


def test_what_a_device_holds() -> None:
    memory = holding(100, "adamw", kept=7, messages=5)
    assert (memory.parameters, memory.gradients, memory.optimizer, memory.total) == (400, 400, 800, 1612)
    assert holding(100, "sgd", gradients=25, kept=0, messages=0).total == 500


def test_an_update_reads_and_writes() -> None:
    assert update_seconds(10, "sgd", 1.0) == 4 * 10 * 3  # gradient, parameter in and out
    assert update_seconds(10, "adamw", 1.0) == 4 * 10 * 7


def test_a_message_carries_all_beliefs_so_far() -> None:
    assert message_bytes(100, 3, 10, 8, wire=2) == 8 * (2 * 100 + 4 * 3 * 10) + 10_000
