from torchsid.bench.pipeline.entries import (
    BACKPROP,
    GPIPE,
    ONE_F_ONE_B,
    RIVALS,
    SID,
    SID_PIPELINE,
    ZERO_BUBBLE,
    ZERO_BUBBLE_V,
    Entry,
    entries,
)


def test_every_schedule_with_every_number_of_micro_batches() -> None:
    found, notes = entries((2, 4), workers=2, stages=8)
    assert notes == []
    assert [entry.name for entry in found[:3]] == [
        "sid, one worker",
        "sid, one worker, 2 micro-batches",
        "sid, one worker, 4 micro-batches",
    ]
    tried = {method: {entry.micro_batches for entry in found if entry.method == method} for method in (SID_PIPELINE, *RIVALS)}
    assert tried == {SID_PIPELINE: {1, 2, 4}, **{method: {2, 4} for method in RIVALS}}
    assert len({entry.name for entry in found}) == len(found)


def test_what_a_schedule_cannot_do_is_left_out_with_the_reason() -> None:
    found, notes = entries((2, 10), workers=4, stages=6)
    assert {(entry.method, entry.micro_batches) for entry in found if entry.method in RIVALS} == {
        (GPIPE, 2),
        (GPIPE, 10),
        (ONE_F_ONE_B, 10),
        (ZERO_BUBBLE, 10),
    }
    assert len(notes) == 3
    assert notes[0].startswith("1f1b, 2 micro-batches")
    assert notes[-1].startswith(ZERO_BUBBLE_V)
    assert entries((7,), workers=2, stages=8)[1] == ["zero bubble, 7 micro-batches: the schedule takes rounds of 2 micro-batches"]


def test_speed_ups_are_over_the_same_way_of_learning() -> None:
    assert Entry(SID_PIPELINE).baseline == SID
    assert Entry(GPIPE, 4).baseline == BACKPROP
