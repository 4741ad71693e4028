"""Two workers average their gradients; rank 0 writes a checkpoint and the log."""

import argparse
import os
import time

import torch
import torch.distributed as dist


def save(path, state):
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--resume", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    chance = torch.Generator().manual_seed(1000 * args.seed + rank)
    weight, start = torch.full((1,), 3.0), 0
    if args.resume:
        state = torch.load(args.resume, weights_only=True)
        weight, start = state["weight"], state["step"]
        chance.manual_seed(1000 * args.seed + rank + start)
    for step in range(start, args.steps):
        gradient = 2.0 * (weight - 1.0) + torch.randn(1, generator=chance) * 0.2
        dist.all_reduce(gradient)
        weight = weight - args.lr * gradient / dist.get_world_size()
        if rank == 0:
            os.makedirs("checkpoints", exist_ok=True)
            save("checkpoints/last.pt", {"weight": weight, "step": step + 1})
            print(f"step {step + 1}: loss {float((weight - 1.0) ** 2):.5f}", flush=True)
        time.sleep(args.step_seconds)
    dist.destroy_process_group()


main()
