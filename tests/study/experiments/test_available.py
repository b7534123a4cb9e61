from pathlib import Path

from tests.study.experiments.samples import experiment

from torchsid.study.experiments.available import with_its_data
from torchsid.study.experiments.plan import Axis, Contender


def test_other_axes_are_left_alone() -> None:
    about = experiment()
    assert with_its_data(about, "nowhere") == (about, ())


def test_points_without_their_files_go(tmp_path: Path) -> None:
    axis = Axis(name="data", points={"few": {"data.limit": 100}, "clothes": {"data.name": "fashion-mnist"}})
    left, words = with_its_data(experiment(axis=axis, contenders={"SID": Contender()}), str(tmp_path))
    assert left.axis is not None
    assert list(left.axis.points) == ["few"]
    assert words == ("clothes, whose files are not in the folder of the data",)
