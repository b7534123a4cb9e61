from torchsid.bench.pipeline.contenders import (
    GPIPE,
    ONE_F_ONE_B,
    RIVALS,
    SID_PIPELINE,
    ZERO_BUBBLE,
    ZERO_BUBBLE_V,
    pipeline_contenders,
)


def test_every_schedule_with_every_number_of_micro_batches() -> None:
    found, notes = pipeline_contenders((2, 4), workers=2, stages=8)
    assert notes == []
    names = ["sid, one worker", "sid, one worker, 2 micro-batches", "sid, one worker, 4 micro-batches"]
    assert [each.name for each in found[:3]] == names
    tried = {method: {each.micro_batches for each in found if each.method == method} for method in (SID_PIPELINE, *RIVALS)}
    assert tried == {SID_PIPELINE: {1, 2, 4}, **{method: {2, 4} for method in RIVALS}}
    assert len({each.name for each in found}) == len(found)


def test_what_a_schedule_cannot_do_is_left_out_with_the_reason() -> None:
    found, notes = pipeline_contenders((2, 10), workers=4, stages=6)
    rivals = {(each.method, each.micro_batches) for each in found if each.method in RIVALS}
    assert rivals == {(GPIPE, 2), (GPIPE, 10), (ONE_F_ONE_B, 10), (ZERO_BUBBLE, 10)}
    assert len(notes) == 4
    assert notes[0].startswith("1f1b, 2 micro-batches")
    assert all(note.startswith(ZERO_BUBBLE_V) for note in notes[-2:])
    uneven = ["zero bubble, 7 micro-batches: the schedule takes rounds of 2 micro-batches"]
    assert pipeline_contenders((7,), workers=2, stages=8)[1] == uneven
