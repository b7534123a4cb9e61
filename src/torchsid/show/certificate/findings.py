"""What a certificate says, in words: one place, so that the page and the command line say the same."""

from collections.abc import Iterator, Sequence

from torchsid.show.wording import kl_by_stage, number, percent
from torchsid.study.certify.certificate import Certificate, StageCertificate
from torchsid.training.config import RunConfig


def findings(certificate: Certificate, class_names: Sequence[str]) -> Iterator[str]:
    """Yield what the certificate says: which statement holds on which share, and where descent fails."""
    stages, last = certificate.stages, certificate.stages[-1]
    weakest = min(stages, key=lambda stage: stage.premise)
    least = f", and at stage {weakest.stage}, where it holds least often, for {percent(weakest.premise)}"
    yield (
        f"Proposition 2: the premise holds at every stage for {percent(certificate.premise_everywhere)} of the images"
        f"{least if weakest.premise < 1 and len(stages) > 1 else ''}"
    )
    wrong = certificate.contradictions
    kept = f"the conclusion fails {wrong} times" if wrong else "so does the conclusion"
    yield (
        f"monotone descent: KL falls at every stage for {percent(certificate.descent_everywhere)} of the images; "
        f"wherever the premise holds, {kept}"
    )
    yield f"on average {kl_by_stage([certificate.prior_kl.mean, *(stage.kl.mean for stage in stages)])}"
    yield (
        f"Proposition 4: mean KL of the answer is at most {number(last.bound.mean)}, and is {number(last.kl.mean)}; "
        f"slack {number(last.slack.mean)} on average, {number(last.slack.worst)} at least"
    )
    yield (
        f"contraction: {percent(last.residual.mean)} of the gap to the label is left, ideal stages would leave "
        f"{percent(last.ideal_residual)}; the stages miss their minimisers by {number(_mean_distance(stages))} nats on average"
    )
    yield from _where_descent_fails(certificate, class_names)


def circumstances(config: RunConfig) -> Iterator[str]:
    """Yield what of the run's training differs from what is measured, a sentence each."""
    learner = config.learner
    if learner.name != "sid":
        yield "The stages were trained end to end: none of them minimised the local loss that is measured here."
    if learner.window > 1:
        yield f"learner.window = {learner.window}: a stage was trained for losses of later stages too, not for its own alone."
    if learner.teachers == "last-epoch":
        yield "The stages learnt from beliefs of the epoch before; here p_{i−1} is what the previous stage believes now."
    if learner.temperature != 1:
        yield f"learner.temperature = {learner.temperature:g}: the stages learnt from the previous belief softened or sharpened."
    if learner.alpha_over == "epochs":
        yield 'learner.alpha_over = "epochs": α is that of the last epoch.'
    alphas = [learner.alpha] if isinstance(learner.alpha, float) else learner.alpha if isinstance(learner.alpha, list) else []
    if 0 in alphas:
        yield "Where α = 0 a stage's loss does not know the label: there Propositions 2 and 4 say nothing of it."


def _mean_distance(stages: Sequence[StageCertificate]) -> float:
    return sum(stage.distance.mean for stage in stages) / len(stages)


def _where_descent_fails(certificate: Certificate, class_names: Sequence[str]) -> Iterator[str]:
    failing = [stage for stage in certificate.stages if stage.failures.samples]
    if not failing:
        return
    shares = [
        (count / size, count, size, class_names[label], stage.stage)
        for stage in failing
        for label, (count, size) in enumerate(zip(stage.failures.by_class, certificate.class_sizes, strict=True))
        if size
    ]
    _, count, size, name, at = max(shares, key=lambda entry: entry[0])
    furthest = max(failing, key=lambda stage: stage.failures.rises[0])
    yield (
        f"descent fails most often for class {name!r} at stage {at} ({count:,} of {size:,} images), and by most for image "
        f"{furthest.failures.samples[0]} at stage {furthest.stage} (+{number(furthest.failures.rises[0])} nats)"
    )
