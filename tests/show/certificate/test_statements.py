import pytest

from torchsid.show.certificate.statements import heading, statement_table, statements

from .conftest import PartOf


def test_true_labels_come_first_each_with_table_and_figures(part_of: PartOf) -> None:
    clean, noisy = statements(part_of("train", wrong=20), tuple("abcd"))
    assert (clean.name, noisy.name) == ("train, clean labels, n = 40", "train, training labels, n = 40")
    assert list(noisy.figures) == ["premise-train-training", "bound-train-training", "residual-train-training"]
    assert len(noisy.drawings) == 3
    assert clean.table != noisy.table
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in clean.sentences)


def test_the_table_has_mean_and_worst(part_of: PartOf) -> None:
    certificate = part_of().certificate
    table = statement_table(certificate)
    assert [len(row) for row in table.rows] == [len(table.columns)] * 3
    kl = table.rows[1][table.columns.index("KL")]
    assert float(kl.value) == pytest.approx(certificate.stages[1].kl.mean, rel=1e-2)
    assert float(kl.detail) == pytest.approx(certificate.stages[1].kl.worst, rel=1e-2)
    assert heading("test", "held-out", certificate) == "test, held-out labels, n = 40"


def test_titles_say_what_is_seen(part_of: PartOf) -> None:
    right = [[0, 1, 2, 3]] * 2
    (found,) = statements(part_of(count=4, answers=right, truth=right[0]), tuple("abcd"))
    premise, bound, residual = found.drawings
    assert premise.title == "KL falls for 100\u00a0% of the images at a stage, the premise holds for 100\u00a0%"
    assert bound.title == "Mean KL to the label ends at 0.139 nats, the bound at 1.39"
    assert "ideal stages leave 25.0\u00a0%" in residual.title
