import pytest
from tests.study.experiments.samples import experiment

from torchsid.errors import ConfigError
from torchsid.study.experiments.experiment import Axis, ContenderConfig
from torchsid.study.experiments.grid import Job, cells, check, configuration, position, repeats, settings_of, tuning
from torchsid.study.frame import Case


def test_ends_and_reference_come_before_what_lies_between_and_a_contender_that_sets_the_axis_stands_beside_it() -> None:
    found = cells(experiment())
    assert found[0] == Case("flat")
    assert [cell.at for cell in found[1:]] == [point for point in ("2", "4", "32", "8", "16") for _ in ("SID", "BP")]
    assert cells(experiment(axis=None)) == [Case("SID"), Case("BP"), Case("flat")]


def test_every_cell_is_tuned_with_every_rate_on_the_first_seed() -> None:
    about = experiment()
    jobs = tuning(about)
    assert len(jobs) == 11 * 3
    assert {job.seed for job in jobs} == {0}
    assert {job.rate for job in jobs if job.cell == Case("BP", "8")} == set(about.rates)


def test_repeats_go_seed_by_seed_at_the_chosen_rate_and_skip_what_has_none() -> None:
    sid, flat = Case("SID", "2"), Case("flat")
    jobs = repeats(experiment(seeds=[0, 1]), {sid: 0.004, flat: 0.001})
    assert jobs == [Job(flat, 0.001, 0), Job(sid, 0.004, 0), Job(flat, 0.001, 1), Job(sid, 0.004, 1)]


def test_an_ablation_takes_over_a_rate_beside_the_axis_that_at_the_reference_and_may_have_fewer_seeds() -> None:
    half = ContenderConfig(of="SID", times=0.5, seeds=[0])
    shallow = ContenderConfig(of="SID", seeds=[0, 1], settings={"model.depth": 1})
    about = experiment(contenders={"SID": ContenderConfig(), "half": half, "shallow": shallow})
    assert {job.cell.method for job in tuning(about)} == {"SID"}
    ablated = [job for job in repeats(about, {Case("SID", "4"): 0.002}) if job.cell.method != "SID"]
    assert ablated == [Job(Case("shallow"), 0.002, 0), Job(Case("half", "4"), 0.001, 0), Job(Case("shallow"), 0.002, 1)]


def test_settings_of_the_contender_come_last() -> None:
    points = {"noisy": {"data.noise.kind": "symmetric", "data.noise.rate": 0.4, "learner.alpha": 0.3}}
    contenders = {"SID": ContenderConfig(settings={"learner.alpha": 0.7})}
    about = experiment(axis=Axis(name="data", points=points), contenders=contenders, settings={"data.noise.rate": 0.1})
    found = {"data.noise.kind": "symmetric", "data.noise.rate": 0.4, "learner.alpha": 0.7}
    assert dict(settings_of(about, Case("SID", "noisy"))) == found


def test_a_contender_does_without_what_its_network_lacks() -> None:
    plain = ContenderConfig(settings={"learner.name": "backprop", "model.network": "plain", "model.depth": 1})
    about = experiment(contenders={"SID": ContenderConfig(), "plain": plain})
    assert configuration(about, Job(Case("plain"), 0.001, 0), "").model.network == "plain"


def test_a_configuration_has_rate_seed_and_one_thread() -> None:
    config = configuration(experiment(), Job(Case("BP", "8"), 0.004, 3), "a#b")
    assert (config.model.depth, config.learner.name, config.data.path) == (8, "backprop", "a#b")
    assert (config.optimizer.learning_rate, config.training.seed, config.training.threads) == (0.004, 3, 1)


def test_every_run_has_a_directory_of_its_own() -> None:
    assert Job(Case("SID, residual", "64"), 1e-3, 2).directory == "sid-residual-64-rate0.001-seed2"
    about = experiment()
    jobs = repeats(about, dict.fromkeys(cells(about), 0.001))
    assert len({job.directory for job in jobs}) == len(jobs) == 55


def test_positions_are_numbers_or_nothing() -> None:
    rule = Axis(name="rule", setting="learner.combine", values=["sum"])
    assert (position(experiment(), "16"), position(experiment(axis=rule), "sum")) == (16.0, None)


def test_problems_of_all_cells_are_named_with_their_contender() -> None:
    contenders = {"SID": ContenderConfig(settings={"learner.alhpa": 1}), "four": ContenderConfig(workers=4)}
    with pytest.raises(ConfigError) as error:
        check(experiment(contenders=contenders, axis=Axis(name="L", setting="model.depth", values=[2, 3])), "")
    assert [problem.partition(":")[0] for problem in error.value.problems] == ["SID at 2 and 1 more", "four at 2"]
