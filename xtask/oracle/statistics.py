"""Writes expected values of the statistics by scipy, statsmodels and scikit-learn, on small cases.

usage: statistics.py OUT.json
"""

import itertools
import json
import sys

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

random = np.random.default_rng(20261124)


def wilson():
    for right, of in [(0, 1), (1, 1), (0, 20), (7, 20), (475, 475), (301, 475), (13, 102)]:
        low, high = proportion_confint(right, of, alpha=0.05, method="wilson")
        yield {"right": right, "of": of, "low": low, "high": high}


def mcnemars():
    for b, c in [(0, 0), (0, 1), (3, 9), (10, 10), (25, 60), (400, 501), (5000, 5300), (0, 2000)]:
        yield {"b": b, "c": c, "p": float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0}


def holms():
    for p in [[0.01, 0.04, 0.03, 0.005], [0.5], [0.2, 0.2, 0.9, 1.0], list(random.random(6) ** 3)]:
        yield {"p": [float(x) for x in p], "corrected": multipletests(p, method="holm")[1].tolist()}


def correlations():
    for n in [3, 10, 50]:
        x = random.normal(size=n)
        y = np.round(0.5 * x + random.normal(size=n), 0 if n == 50 else 3)
        yield {
            "x": x.tolist(),
            "y": y.tolist(),
            "pearson": float(stats.pearsonr(x, y)[0]),
            "spearman": float(stats.spearmanr(x, y)[0]),
        }


def aucs():
    for n in [4, 30]:
        positive = np.round(random.normal(0.7, 1, n), 1)
        negative = np.round(random.normal(0.0, 1, 2 * n), 1)
        labels = [1] * len(positive) + [0] * len(negative)
        auc = roc_auc_score(labels, np.concatenate([positive, negative]))
        yield {"positive": positive.tolist(), "negative": negative.tolist(), "auc": float(auc)}


def best_of_n():
    """The exact curve, by enumerating every subset of k completions."""
    cases = [([3.0, 1.0, 2.0, 0.0], 1), ([1.0, 3.0, 2.0, 0.0], 1), ([1.0, 1.0, 0.0, 1.0, 2.0], 2), ([0.5] * 4, 1), ([2.0, 0.0, 1.0, 1.0, 0.0, 3.0], 3)]
    for scores, correct in cases:
        curve = []
        for k in range(1, len(scores) + 1):
            marks = []
            for drawn in itertools.combinations(range(len(scores)), k):
                top = max(scores[i] for i in drawn)
                best = [i for i in drawn if scores[i] == top]
                marks.append(np.mean([i < correct for i in best]))
            curve.append(float(np.mean(marks)))
        yield {"scores": scores, "num_correct": correct, "curve": curve}


def binomials():
    for n, p in [(5, 0.3), (40, 0.2), (60, 0.45), (1000, 0.03), (1000, 0.7)]:
        ks = sorted({int(q) for q in stats.binom.ppf([0.05, 0.25, 0.5, 0.75, 0.95], n, p)})
        yield {"n": n, "p": p, "at": ks, "cdf": stats.binom.cdf(ks, n, p).tolist()}


def bootstrap():
    """scipy's percentile bootstrap of a mean with many resamples; our intervals must be close to it."""
    for values in [random.choice([0, 0.25, 0.5, 1], 60).tolist(), random.choice([0.0, 1.0], 400, p=[0.3, 0.7]).tolist()]:
        found = stats.bootstrap((values,), np.mean, n_resamples=200_000, method="percentile", rng=random)
        yield {"values": values, "low": float(found.confidence_interval.low), "high": float(found.confidence_interval.high)}


out = {
    "versions": {"scipy": __import__("scipy").__version__, "statsmodels": __import__("statsmodels").__version__},
    "wilson": list(wilson()),
    "mcnemar": list(mcnemars()),
    "holm": list(holms()),
    "correlation": list(correlations()),
    "roc_auc": list(aucs()),
    "best_of_n": list(best_of_n()),
    "binomial": list(binomials()),
    "bootstrap": list(bootstrap()),
}
with open(sys.argv[1], "w") as file:
    json.dump(out, file, indent=1)
    file.write("\n")
