from dataclasses import replace

import pytest
from tests.study.experiments.costs.samples import TIMING

from torchsid.errors import ConfigError
from torchsid.study.experiments.costs.staged import check, contenders, stages_of, workload

CUT = TIMING.staged[0]


def test_contenders_are_those_of_the_bench_under_their_names() -> None:
    work = workload(CUT, [2])
    names = ["BP", "BP, checkpointing", "BP, accumulation", "deep supervision", "SID, 2 stages"]
    assert list(contenders(work)) == names
    assert list(stages_of(work).values()) == [1, 2, 1, 2, 2]
    contenders(work)["SID, 2 stages"]().step()


def test_what_cannot_be_cut_is_named_before_anything_is_measured() -> None:
    check([CUT])
    narrow = replace(CUT, model="resnet-18", blocks=None, stages=[2, 500])
    with pytest.raises(ConfigError, match="with 500 stages") as error:
        check([narrow, replace(CUT, stages=[40])])
    assert len(error.value.problems) == 2
