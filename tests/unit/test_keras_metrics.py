from __future__ import annotations

import numpy as np
import pytest
from making import metric
from sklearn.metrics import f1_score, jaccard_score

from edgebuild import config
from edgebuild.core.metric import Metric
from edgebuild.errors import UsageError
from edgebuild.metrics import score
from edgebuild.metrics.choosing import Evaluation, Seen, choose
from edgebuild.passes import keras_metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 4)).astype(np.float32)
CLASSES = (LOGITS + RNG.normal(size=LOGITS.shape)).argmax(axis=1)
VALUES = RNG.normal(size=(300, 4)).astype(np.float32)


def settled(name: str, outputs: np.ndarray, y: np.ndarray, **options: object) -> Metric:
    asked = keras_metrics.with_direction(metric(name, options=options))
    return choose(asked, [Seen(0, "out", outputs)], Evaluation(y), 1)


def test_keras_metrics_give_what_scikit_learn_does() -> None:
    f1 = settled("keras:F1Score", LOGITS, CLASSES, average="macro")
    expected = f1_score(CLASSES, LOGITS.argmax(axis=1), average="macro")
    assert score(LOGITS, CLASSES, f1) == pytest.approx(expected, abs=1e-5)
    miou = settled("keras:MeanIoU", LOGITS, CLASSES, num_classes=4)
    expected = jaccard_score(CLASSES, LOGITS.argmax(axis=1), average="macro")
    assert score(LOGITS, CLASSES, miou) == pytest.approx(expected, abs=1e-5)
    rmse = settled("keras:RootMeanSquaredError", LOGITS, VALUES)
    assert score(LOGITS, VALUES, rmse) == pytest.approx(np.sqrt(np.square(LOGITS - VALUES).mean()), rel=1e-5)
    assert (rmse.less_is_more, f1.less_is_more, f1.label) == (True, False, "F1Score")


def test_a_name_like_a_class_is_that_of_a_keras_metric() -> None:
    found = config.load({"metric": {"name": "F1Score", "options": {"average": "macro"}}}, {}, use_file=False)
    asked = Metric.asked(found.settings.metric)
    assert (asked.name, asked.is_keras, asked.is_callable) == ("keras:F1Score", True, False)
    with pytest.raises(UsageError, match="options are those of a Keras metric"):
        config.load({"metric": {"name": "mae", "options": {"k": 1}}}, {}, use_file=False)


def test_keras_metrics_that_cannot_be_had_are_refused_with_what_can() -> None:
    with pytest.raises(UsageError, match='did you mean "F1Score"'):
        keras_metrics.with_direction(metric("keras:F1score"))
    with pytest.raises(UsageError, match="does not take its options"):
        keras_metrics.with_direction(metric("keras:MeanIoU"))
    with pytest.raises(UsageError, match="gives 4 numbers") as caught:
        score(LOGITS, CLASSES, settled("keras:F1Score", LOGITS, CLASSES))
    assert 'average = "macro"' in caught.value.remedy
