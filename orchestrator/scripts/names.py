"""What the names of options and numbers tell: a seed, something that changes no number, a metric's direction. Pure."""

import re

from orchestrator.task.metric_spec import Direction

SEEDS = (
    "seed",
    "random_seed",
    "manual_seed",
    "manualseed",
    "seed_everything",
    "global_seed",
    "rng_seed",
    "torch_seed",
    "rand_seed",
    "random_state",
    "train_seed",
)
"""Names of the option that sets the seed, the likeliest first."""
_LEFT_OUT = (
    (r"help|version|config|cfg|config_file|print_config|conf", "it names a file of settings"),
    (
        r"(?!.*_or_path)(\w*dir|(.*_)?(dirs|path|paths|file|files|folder|root|outdir|logdir|datadir|savedir|csv|json))|out|output|outputs"
        r"|data|prefix|filename",
        "it is a path",
    ),
    (
        r"resume(_.*)?|start_epoch|init_from|(.*_)?(ckpt|checkpoint|checkpoints|checkpointing)(_.*)?|load(_.*)?"
        r"|restore(_.*)?|overwrite(_.*)?|save|save_.*|saving|ignore_data_skip",
        "it saves or loads",
    ),
    (
        r"(.*_)?(log|logs|logger|logging|wandb|tensorboard|mlflow|tb|neptune|comet|trackio)(_.*)?|verbose|verbosity|quiet"
        r"|(print|display|report|disp)_.*|.*progress_?bar.*|tqdm|disable_tqdm|(.*_)?(run|exp|experiment|project|job)_?name"
        r"|name|exp|experiment|project|entity|tags?|notes?|comment|debug|dry_run|profile|profiler|plot|show"
        r"|include_.*_metrics|callbacks|enable_model_summary",
        "it says what is shown",
    ),
    (
        r"device|devices|device_ids?|gpus?|gpu_ids?|n_gpus?|num_gpus|cuda|no_cuda|use_cuda|disable_cuda|cpu|use_cpu|mps"
        r"|no_mps|use_mps(_device)?|no_accel|accel|accelerator|tpu.*|(local_)?rank|world_size|dist(ributed)?(_.*)?"
        r"|multiprocessing(_.*)?|ddp(_.*)?|fsdp(_.*)?|deepspeed|parallelism_config|accelerator_config|master_.*|num_nodes"
        r"|nodes|nnodes|nproc.*|backend|strategy|plugins|port|host|(.*_)?(workers|threads|num_proc|n_jobs|njobs)|jobs"
        r"|pin_mem(ory)?|(.*_)?prefetch(_.*)?|persistent_workers|dataloader_.*|skip_memory_metrics|benchmark",
        "it says where to compute",
    ),
    (
        r"evaluate|eval_only|test_only|only_eval|do_(train|eval|predict)|push_to_hub|(.*_)?hub(_.*)?|(.*_)?token"
        r"|fast_dev_run|mode|remove_unused_columns|past_index|label_names|length_column_name|local_files_only",
        "it says what to do",
    ),
)
"""Expression of a name's last part -> why it is most likely no parameter of a study."""
_LOWER = re.compile(r"loss(?:es)?|err|errors?|ppl|perplexity|[rn]?mse|mae|mape|wer|cer|nll|bp[bcd]|fid|kl|regret|eer")
_HIGHER = re.compile(
    r"accs?|accuracy|accuracies|f1|auc|auroc|auprc|bleu|rouge[l\d]*|map|miou|iou|dice|r2|score|rewards?|returns?|precision|recall"
    r"|psnr|ssim|top[15]|kappa|mcc|spearman|pearson|correct|ap|ndcg|mrr|hits?"
)
_HELD_OUT = ("val", "valid", "validation", "dev", "test", "eval", "heldout")
_TRAINED = ("train", "training", "batch", "running")


def plain_name(name: str) -> str:
    """Return the last part of a dotted name in lower case, with `_` for `-`."""
    return name.rpartition(".")[2].replace("-", "_").lower()


def seed_rank(name: str) -> int | None:
    """Return the place of a name among those of seeds, 0 first; None if it is none."""
    plain = plain_name(name)
    return SEEDS.index(plain) if plain in SEEDS else None


def why_left_out(name: str) -> str:
    """Return why a person most likely does not mean an option; empty if they may."""
    plain = plain_name(name)
    # `model.name` says which model; `name` alone is that of a run.
    if "." in name and plain in ("name", "mode"):
        return ""
    return next((reason for expression, reason in _LEFT_OUT if re.fullmatch(expression, plain)), "")


def direction_of(name: str) -> Direction | None:
    """Return which direction of a number is better, by its name; None if the name is none of a metric."""
    words = _words(name)
    if any(_LOWER.fullmatch(word) for word in words):
        return "lower"
    return "higher" if any(_HIGHER.fullmatch(word) for word in words) else None


def metric_rank(name: str) -> int:
    """Return how likely a number is what a study is about: 0 for held-out data, 2 for training data, else 1."""
    words = _words(name)
    if any(word in _HELD_OUT for word in words):
        return 0
    return 2 if any(word in _TRAINED for word in words) else 1


def held_out_word(text: str) -> str:
    """Return the first word of a text that names held-out data, such as `test`; empty if there is none."""
    return next((word for word in _words(text) if word in _HELD_OUT), "")


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.lower())
