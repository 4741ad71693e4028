"""Prints dictionaries and writes trainer_state.json, as the Trainer of Hugging Face does."""

import argparse
import json
import os
import random


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--learning_rate", type=float, default=5e-2)
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--weight_decay", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--disable_tqdm", type=bool, default=False)
    args = parser.parse_args()
    random.seed(args.seed)
    weight, history = random.gauss(0.0, 1.0), []
    for epoch in range(1, args.num_train_epochs + 1):
        for _ in range(20):
            weight -= args.learning_rate * (2.0 * (weight - 1.0) + args.weight_decay * weight + random.gauss(0.0, 0.3))
        rows = [{"loss": round((weight - 1.0) ** 2, 4), "epoch": float(epoch)}]
        rows.append({"eval_loss": round((weight - 1.0) ** 2 + 0.2, 4), "eval_runtime": 0.01, "epoch": float(epoch)})
        for row in rows:
            print(row, flush=True)
        history += [{**row, "step": 20 * epoch} for row in rows]
    os.makedirs(args.output_dir, exist_ok=True)
    with open(os.path.join(args.output_dir, "trainer_state.json"), "w") as file:
        json.dump({"global_step": 20 * args.num_train_epochs, "log_history": history}, file)


main()
