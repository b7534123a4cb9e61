from tests.study.experiments.costs.samples import timing_rows

from torchsid.study.experiments.costs.timing_findings import verdict


def test_the_first_sentence_is_the_bound() -> None:
    rows = [*timing_rows("net", 2, 0.5, 0.8), *timing_rows("net", 8, 0.2, 0.9)]
    assert verdict(rows)[0] == (
        "What runs one after another takes 20\u00a0% to 50\u00a0% of a step of SID, "
        "so that as many workers as there are stages gain at most 1.33× to 3.33× on one batch."
    )


def test_a_faster_step_is_told_as_faster() -> None:
    sentence = verdict([*timing_rows("net", 2, 0.5, 0.8), *timing_rows("net", 8, 0.2, 0.9)])[1]
    assert sentence == (
        "Against the reference procedure, the fastest SID step is faster on every network: it takes 0.80 to 0.90 of the time."
    )


def test_a_slower_step_is_told_as_slower() -> None:
    sentence = verdict([*timing_rows("net", 2, 0.5, 1.2), *timing_rows("net", 8, 0.2, 1.4)])[2]
    assert sentence == (
        "Against backpropagation through the same chain, the fastest SID step is faster on no network: "
        "it takes 1.20 to 1.40 of the time."
    )


def test_what_differs_between_networks_is_told_apart() -> None:
    rows = [*timing_rows("net", 2, 0.5, 0.8), *timing_rows("net", 4, 0.5, 1.4), *timing_rows("net", 8, 0.5, 1.0)]
    assert verdict(rows)[1] == (
        "Against the reference procedure, the fastest SID step is faster on net, L = 2 (streaming: 0.80); "
        "slower on net, L = 4 (streaming: 1.40); neither faster nor slower on net, L = 8 (streaming: 1.00)."
    )


def test_a_network_says_its_parts_from_the_fewest_stages_to_the_most() -> None:
    rows = [*timing_rows("net", 2, 0.5, 0.8), *timing_rows("net", 8, 0.2, 0.9), *timing_rows("other", 4, 0.5, 1.0)]
    assert verdict(rows)[-2:] == [
        "net, 2 to 8 stages: of a step, extractor 25\u00a0% to 10\u00a0%, phase 1 25\u00a0% to 10\u00a0%, "
        "phase 2 50\u00a0% to 80\u00a0%, update 0\u00a0%; two workers gain at most 1.33× to 1.67×, 2 to 8 workers 1.33× to 3.33×.",
        "other, 4 stages: of a step, extractor 25\u00a0%, phase 1 25\u00a0%, phase 2 50\u00a0%, update 0\u00a0%; "
        "two workers gain at most 1.33×, 4 workers 1.60×.",
    ]
