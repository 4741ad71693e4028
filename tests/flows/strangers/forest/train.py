"""A random forest on visits of patients. Visits of one patient are alike, so patients are the clusters."""

import argparse

import numpy as np
from sklearn.ensemble import RandomForestRegressor

import knockout

PATIENTS, VISITS = 40, 6


def make_visits():
    chance = np.random.default_rng(7)
    patient_B = np.repeat(np.arange(2 * PATIENTS), VISITS)
    features_BF = chance.normal(size=(len(patient_B), 5))
    target_B = features_BF[:, 0] + np.sin(2 * features_BF[:, 1]) + chance.normal(0.0, 0.7, 2 * PATIENTS)[patient_B]
    return features_BF, target_B + chance.normal(0.0, 0.3, len(patient_B)), patient_B


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trees", type=int, default=10)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    features_BF, target_B, patient_B = make_visits()
    is_training_B = patient_B < PATIENTS
    forest = RandomForestRegressor(args.trees, max_depth=args.depth, random_state=args.seed, n_jobs=1)
    forest.fit(features_BF[is_training_B], target_B[is_training_B])
    testing_B = np.flatnonzero(~is_training_B)
    told_B = forest.predict(features_BF[testing_B])
    run = knockout.current()
    run.log(1, train_r2=forest.score(features_BF[is_training_B], target_B[is_training_B]))
    run.scores("test", key=testing_B, cluster=patient_B[testing_B], truth=target_B[testing_B], told=told_B)
    print(f"R2: {forest.score(features_BF[testing_B], target_B[testing_B]):.4f}")


main()
