"""Logistic regression on two features. Data lie beside the code; the score is printed as a ratio."""

import argparse
import csv
import math
import os
import random

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


def read_points(name):
    with open(os.path.join(DATA, name), newline="") as file:
        return [(float(row["x"]), float(row["y"]), int(row["label"])) for row in csv.DictReader(file)]


def probability(weights, x, y):
    return 1.0 / (1.0 + math.exp(-(weights[0] * x + weights[1] * y + weights[2])))


def train_epoch(weights, points, args):
    random.shuffle(points)
    for x, y, label in points:
        error = probability(weights, x, y) - label
        for place, value in enumerate((x, y, 0.0 if args.no_bias else 1.0)):
            weights[place] -= args.lr * (error * value + args.decay * weights[place])


def test(weights, points):
    chances = [(probability(weights, x, y), label) for x, y, label in points]
    loss = -sum(math.log(max(1e-12, chance if label else 1.0 - chance)) for chance, label in chances) / len(points)
    correct = sum((chance > 0.5) == bool(label) for chance, label in chances)
    print(f"Test set: Average loss: {loss:.4f}, Accuracy: {correct}/{len(points)} ({100 * correct / len(points):.0f}%)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--decay", type=float, default=0.0)
    parser.add_argument("--no-bias", action="store_true")
    parser.add_argument("--save-model", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    random.seed(args.seed)
    weights = [random.gauss(0.0, 0.5) for _ in range(3)]
    training, testing = read_points("train.csv"), read_points("test.csv")
    for epoch in range(1, args.epochs + 1):
        train_epoch(weights, training, args)
        print(f"Train Epoch: {epoch}", flush=True)
        test(weights, testing)
    if args.save_model:
        with open("weights.txt", "w") as file:
            file.write(" ".join(map(str, weights)))


if __name__ == "__main__":
    main()
