"""Gradient descent on a quadratic, set by globals and `--name=value`; checkpoints in a folder of its checkout."""

import json
import os
import random
import time

out_dir = "out"
init_from = "scratch"
seed = 1337
max_iters = 20
eval_interval = 5
learning_rate = 0.1
momentum = 0.0
step_seconds = 0.0
noisy = True
config_keys = [k for k, v in globals().items() if not k.startswith("_") and isinstance(v, (int, float, bool, str))]
exec(open("configurator.py").read())
config = {k: globals()[k] for k in config_keys}

random.seed(seed)
os.makedirs(out_dir, exist_ok=True)
checkpoint = os.path.join(out_dir, "ckpt.json")
if init_from == "resume":
    with open(checkpoint) as file:
        state = json.load(file)
    random.setstate((state["random"][0], tuple(state["random"][1]), state["random"][2]))
    weight, speed, start = state["weight"], state["speed"], state["step"]
    print(f"resuming from step {start}")
else:
    weight, speed, start = 3.0 + random.gauss(0.0, 0.1), 0.0, 0


def loss_of(weight):
    return (weight - 1.0) ** 2 + 0.5


for step in range(start, max_iters + 1):
    if step % eval_interval == 0:
        with open(checkpoint + ".new", "w") as file:
            json.dump({"weight": weight, "speed": speed, "step": step, "random": random.getstate()}, file)
        os.replace(checkpoint + ".new", checkpoint)
        print(f"step {step}: train loss {loss_of(weight):.4f}, val loss {loss_of(weight) + 0.1:.4f}", flush=True)
    gradient = 2.0 * (weight - 1.0) + (random.gauss(0.0, 0.2) if noisy else 0.0)
    speed = momentum * speed - learning_rate * gradient
    weight += speed
    time.sleep(step_seconds)
