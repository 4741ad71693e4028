"""Small training scripts of each style, as strangers write them."""

ARGPARSE = """\
import argparse
import json
import sys

from net.blocks import width
from options import add_model_options


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", "--batch-size", type=int, default=64, help="rows a step: # of them")
    parser.add_argument("--lr", type=float, default=1, help="learning rate, 10%% at least")
    parser.add_argument("--use_bias", dest="use_bias", action="store_true", default=True)
    parser.add_argument("--no_use_bias", dest="use_bias", action="store_false")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--nesterov", type=bool, default=True)
    parser.add_argument("--opt", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--milestones", type=int, nargs="+", default=[30, 60])
    parser.add_argument("-wd", type=float, default=1e-5)
    parser.add_argument("--data-dir", default="./data")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    add_model_options(parser.add_argument_group("model"))
    args = parser.parse_args()
    print(f"epoch {1}: train loss {0.5:.4f}, val loss {0.25:.4f}")
    print(json.dumps(vars(args)))


if __name__ == "__main__":
    main()
"""
ARGPARSE_FILES = {
    "train.py": ARGPARSE,
    "options.py": "def add_model_options(parser):\n    parser.add_argument('--depth', type=int, default=2)\n",
    "net/__init__.py": "",
    "net/blocks.py": "from .sizes import width\n",
    "net/sizes.py": "width = 4\n",
    "unused.py": "",
}
"""A repository: what the script imports, and a file that it does not."""
GLOBALS = """\
import os

out_dir = "out"
eval_interval = 2000
learning_rate = 6e-4
steps = 5 * 8
device = "cuda" if os.environ.get("GPU") else "cpu"
compile = True
dataset = "tiny"
config_keys = [key for key in globals() if not key.startswith("_")]
exec(open("configurator.py").read())
print(f"step {steps}: train loss {0.5:.4f}, val loss {0.25:.4f}")
"""
CONFIGURATOR = """\
import sys
from ast import literal_eval

for word in sys.argv[1:]:
    key, value = word[2:].split("=")
    try:
        globals()[key] = literal_eval(value)
    except (SyntaxError, ValueError):
        globals()[key] = value
"""
HYDRA = """\
import hydra


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print(cfg)


main()
"""
HYDRA_CONFIG = """\
defaults: [_self_]
seed: 0
model: {depth: 2, name: "small net", sizes: [1, 2], layers: "${model.depth}"}
optim: {lr: 1e-3, nesterov: false, clip: null}
output_dir: out
"""
FAKE_HYDRA = '''\
"""Answers `--cfg job` as Hydra does, with a line of noise in front."""
import pathlib, sys

def main(version_base=None, config_path="", config_name=""):
    def decorate(function):
        def run():
            assert sys.argv[-2:] == ["--cfg", "job"], "it would train"
            print("a warning: of a library")
            text = (pathlib.Path(config_path) / (config_name + ".yaml")).read_text()
            print(text.partition("\\n")[2])
        return run
    return decorate
'''
DATACLASS = """\
from dataclasses import dataclass, field
from typing import List, Literal, Optional

from transformers import HfArgumentParser, TrainingArguments


@dataclass
class ModelArguments:
    task: str = field(metadata={"help": "What it learns."})
    model_name_or_path: Optional[str] = field(default="small", metadata={"help": "The model"})
    use_lora: bool = False
    lora_rank: int = 8
    dropout: float = 0
    targets: Optional[List[str]] = None
    kind: Literal["a", "b"] = "a"
    layers: List[int] = field(default_factory=lambda: [1, 2])


@dataclass
class NotParsed:
    other: int = 1


HfArgumentParser((ModelArguments, TrainingArguments)).parse_args_into_dataclasses()
"""
ABSL = """\
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_float("learning_rate", 0.1, "Learning rate.")
flags.DEFINE_integer("layers", 3, "Number of layers.")
flags.DEFINE_bool("augment", True, "Whether to augment.")
flags.DEFINE_enum("optimizer", "adam", ["adam", "sgd"], "Optimizer.")
flags.DEFINE_list("stages", ["1", "2"], "Stages.")
flags.DEFINE_multi_integer("sizes", [1, 2], "Sizes.")
flags.DEFINE_integer("seed", 0, "Seed.")
flags.DEFINE_string("workdir", None, "Where to write.")


def main(argv):
    pass


app.run(main)
"""
CLICK = """\
import json

import click


@click.command()
@click.option("--lr", type=float, default=0.1, help="Learning rate.")
@click.option("-d", "--depth", default=2)
@click.option("--amp", is_flag=True)
@click.option("--bias/--no-bias", default=True)
@click.option("--fast/--slow", default=False)
@click.option("--opt", type=click.Choice(["sgd", "adam"]), default="sgd")
@click.option("--stage", multiple=True, default=["a"])
@click.option("--seed", type=int, default=0)
def main(**options):
    print(json.dumps(options))


main()
"""
FIRE = """\
import fire


def train(lr=0.1, depth: int = 2, name="small net", amp=False, seed=0):
    print(f"test accuracy: {lr:.3f}")


fire.Fire(train)
"""
NOISY = """\
print("a banner", flush=True)
import sys
print("a warning", file=sys.stderr)
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
parser.parse_args()
"""
CRASHING = "import a_module_that_is_not_there\n" + NOISY
ENDLESS = '''\
"""Has a parser of its own kind, which the hook does not see, and trains."""
import subprocess
import sys
import time
from pathlib import Path

class Parser:
    def add_argument(self, *words, **rest):
        pass

parser = Parser()
parser.add_argument("--lr", type=float, default=0.1)
Path("left_behind.txt").write_text("mine")
child = "import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
while True:
    time.sleep(1)
'''
TWO_PARSERS = """\
import argparse

first = argparse.ArgumentParser(add_help=False)
first.add_argument("-c", "--config", default="")
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
known, remaining = first.parse_known_args()
args = parser.parse_args(remaining)
"""
SUBCOMMANDS = """\
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--verbose", action="store_true")
commands = parser.add_subparsers(dest="command", required=True)
train = commands.add_parser("train")
train.add_argument("--lr", type=float, default=0.1)
train.add_argument("--seed", type=int, default=0)
test = commands.add_parser("test")
test.add_argument("--split", default="val")
parser.parse_args()
"""
NOTHING = "learning_rate = 0.1\nprint('loss', learning_rate * 2)\n"


def many_options(number: int) -> str:
    """Return a script with many options."""
    options = "\n".join(
        f"parser.add_argument('--knob_{index}', type=float, default={index})" for index in range(number)
    )
    return f"import argparse\nparser = argparse.ArgumentParser()\n{options}\nparser.parse_args()\n"
