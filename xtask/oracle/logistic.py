"""Writes expected weights for the solver: scikit-learn's logistic regressions on differences of features.

    python logistic.py OUT.json

Our objective is mean log(1 + exp(-w x)) + strength / 2 |w|^2, over x = (chosen - rejected) / scale, where scale is the
root mean square of each column. It is the same as scikit-learn's without intercept on x with label 1 and -x with label
0, with C = 1 / (2 n strength). The weights in the file are for unscaled features.
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

STRENGTHS = [10.0, 3.162, 1.0, 0.3162, 0.1, 0.03162, 0.01, 0.001]
PAIRS, PROMPTS, WIDTH = 120, 40, 12

random = np.random.default_rng(4)
sizes = 10.0 ** random.uniform(-1, 2, WIDTH)
direction = random.normal(size=WIDTH)
chosen = random.normal(size=(PAIRS, WIDTH))
rejected = random.normal(size=(PAIRS, WIDTH))
# The better completion is the chosen one in three of four pairs.
worse = (chosen - rejected) @ direction < 0
swap = worse ^ (random.uniform(size=PAIRS) < 0.25)
chosen[swap], rejected[swap] = rejected[swap].copy(), chosen[swap].copy()
chosen = (chosen * sizes + 3 * sizes).astype(np.float32)
rejected = (rejected * sizes + 3 * sizes).astype(np.float32)

x = (chosen - rejected).astype(np.float64)
scale = np.sqrt((x**2).mean(axis=0))
x = x / scale
weights = {}
for strength in STRENGTHS:
    model = LogisticRegression(C=1 / (2 * PAIRS * strength), fit_intercept=False, solver="lbfgs", tol=1e-12, max_iter=100_000)
    model.fit(np.concatenate([x, -x]), np.repeat([1, 0], PAIRS))
    weights[str(strength)] = (model.coef_[0] / scale).tolist()

with open(sys.argv[1], "w", encoding="utf-8") as out:
    json.dump(
        {
            "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
            "prompts": [i % PROMPTS for i in range(PAIRS)],
            "chosen": chosen.tolist(),
            "rejected": rejected.tolist(),
            "weights": weights,
        },
        out,
    )
    out.write("\n")
