from torchsid.bench.recorder import Interval, Recorder, seconds_by_kind


def test_what_begins_ends_what_was_under_way() -> None:
    recorder = Recorder()
    recorder.begin("forward")
    with recorder.during("backward"):
        pass
    recorder.begin("update")
    first, second, third = recorder.take()
    assert (first.what, second.what, third.what) == ("forward", "backward", "update")
    assert first.end == second.start < second.end <= third.start


def test_the_rest_fills_the_gaps() -> None:
    recorder = Recorder("rest")
    recorder.end()
    with recorder.during("something"):
        pass
    assert [each.what for each in recorder.take()] == ["rest", "something", "rest"]


def test_seconds_add_up() -> None:
    assert seconds_by_kind([Interval("a", 0.0, 1.0), Interval("b", 1.0, 3.0), Interval("a", 5.0, 5.5)]) == {"a": 1.5, "b": 2.0}
