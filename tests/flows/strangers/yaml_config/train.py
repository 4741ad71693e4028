"""A line is fitted; the configuration is a YAML file, and the log a CSV file that is written anew each epoch."""

import csv
import random
import sys

from ruamel.yaml import YAML


def write_log(rows):
    names = ["epoch", "step", "train_loss", "val_mse"]
    with open("metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def main():
    with open(sys.argv[sys.argv.index("--config") + 1]) as file:
        config = YAML(typ="safe").load(file)
    random.seed(config["seed"])
    slope, rows = random.gauss(0.0, 1.0), []
    for epoch in range(config["trainer"]["epochs"]):
        for _ in range(config["trainer"]["steps"]):
            x = random.uniform(-1.0, 1.0)
            slope -= config["optimizer"]["lr"] * (slope * x - 2.0 * x - random.gauss(0.0, config["data"]["noise"])) * x
        rows.append(
            {"epoch": epoch, "step": (epoch + 1) * config["trainer"]["steps"], "train_loss": (slope - 2.0) ** 2}
        )
        rows.append({"epoch": epoch, "step": 0, "val_mse": (slope - 2.0) ** 2 / 3.0 + config["data"]["noise"] ** 2})
        write_log(rows)


main()
