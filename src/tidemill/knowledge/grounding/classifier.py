"""A logistic regression over a few features, with the weights that ship, and what it was fitted on."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted model.

    Attributes:
        features: what each number is.
        mean, scale: what each is brought to unit variance with.
        weights, bias: of the logistic regression.
        calibration: points (score, probability), both rising, between which probabilities are read off; none where the
            score is the probability.
        threshold: from which probability on a sentence counts as supported, unless the settings say.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    calibration: tuple[tuple[float, float], ...]
    threshold: float

    def score(self, values: Sequence[float]) -> float:
        """Of the regression, 0 to 1."""
        parts = zip(values, self.mean, self.scale, self.weights, strict=True)
        logit = self.bias + math.fsum((value - mean) / scale * weight for value, mean, scale, weight in parts)
        return 1 / (1 + math.exp(-max(-40.0, min(40.0, logit))))

    def probability(self, values: Sequence[float]) -> float:
        """That the passages say what the sentence says."""
        score = self.score(values)
        if not self.calibration:
            return score
        below = self.calibration[0]
        for point in self.calibration:
            if score < point[0]:
                width = point[0] - below[0]
                part = (score - below[0]) / width if width > 0 else 1.0
                return below[1] + max(0.0, part) * (point[1] - below[1])
            below = point
        return below[1]


@cache
def shipped(name: str) -> Classifier:
    """A classifier by its name in `weights.json`: `within` one language, or `across` two."""
    found = json.loads(files(__package__).joinpath("weights.json").read_text("utf-8"))[name]
    return Classifier(
        features=tuple(found["features"]),
        mean=tuple(found["mean"]),
        scale=tuple(found["scale"]),
        weights=tuple(found["weights"]),
        bias=found["bias"],
        calibration=tuple((score, probability) for score, probability in found["calibration"]),
        threshold=found["threshold"],
    )
