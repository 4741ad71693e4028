"""What names tell: a seed, what changes no number, which direction is better."""

import pytest

from orchestrator.scripts.names import direction_of, metric_rank, seed_rank, why_left_out


@pytest.mark.parametrize(
    "name",
    ["lr", "learning-rate", "weight_decay", "batch_size", "epochs", "dropout", "model", "arch", "dataset", "depth",
     "model.name", "optimizer", "warmup_steps", "label_smoothing", "model_name_or_path", "eval_interval", "loss",
     "max_iters", "compile", "bf16", "num_train_epochs", "pretrained", "lora_rank", "scheduler.mode"],
)  # fmt: skip
def test_what_a_person_may_mean_is_kept(name: str) -> None:
    assert why_left_out(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("output_dir", "it is a path"),
        ("workdir", "it is a path"),
        ("train-file", "it is a path"),
        ("resume", "it saves or loads"),
        ("save_steps", "it saves or loads"),
        ("always_save_checkpoint", "it saves or loads"),
        ("log_interval", "it says what is shown"),
        ("wandb_project", "it says what is shown"),
        ("print-freq", "it says what is shown"),
        ("trainer.enable_progress_bar", "it says what is shown"),
        ("device", "it says where to compute"),
        ("data.num_workers", "it says where to compute"),
        ("no-cuda", "it says where to compute"),
        ("local_rank", "it says where to compute"),
        ("push_to_hub", "it says what to do"),
        ("config", "it names a file of settings"),
        ("name", "it says what is shown"),
    ],
)
def test_what_changes_no_number_is_left_out_with_a_reason(name: str, reason: str) -> None:
    assert why_left_out(name) == reason


def test_the_likeliest_seed_comes_first() -> None:
    names = ["manualSeed", "training.seed", "random-seed", "seeds", "data_seed"]
    assert [seed_rank(name) for name in names] == [3, 0, 1, None, None]


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "lower"),
        ("perplexity", "lower"),
        ("test_rmse", "lower"),
        ("val_accuracy", "higher"),
        ("accuracy_error", "lower"),
        ("acc@1", "higher"),
        ("mean_reward", "higher"),
        ("correct/total", "higher"),
        ("time", None),
        ("lossless", None),
    ],
)
def test_a_metrics_name_tells_its_direction(name: str, direction: str | None) -> None:
    assert direction_of(name) == direction


def test_numbers_on_held_out_data_come_first() -> None:
    assert [metric_rank(name) for name in ("val_loss", "Test set: loss", "loss", "train_loss")] == [0, 0, 1, 2]
