"""Patterns and metrics, by what a script prints."""

import ast

import pytest

from orchestrator.scripts.prints import find_metrics, find_patterns


def patterns(source: str) -> list[str]:
    return [one.text for one in find_patterns([ast.parse(source)])]


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("print(f'val loss {x}')", "val loss {val_loss}"),
        (
            "print(f\"step {i}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}\")",
            "step {step}: train loss {train_loss}, val loss {val_loss}",
        ),
        (
            "print('Test set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)\\n'.format(a, b, c, d))",
            "Test set: Average loss: {average_loss}, Accuracy: {correct}/{total} ({accuracy_percent}%)",
        ),
        ("print('epoch %d val_acc %.2f%%' % (e, a))", "epoch {epoch} val_acc {val_acc}%"),
        ("logger.info('loss %.3f after %d steps', x, n)", "loss {loss} after {n} steps"),
        (
            "print('Epoch: {} [{}/{} ({:.0f}%)] Loss: {:.6f}'.format(e, i * 2, len(x), 100. * correct, loss.item()))",
            "Epoch: {epoch} [{i}/{i_total} ({i_percent}%)] Loss: {loss}",
        ),
        ("print('val loss', loss.item())", "val loss {val_loss}"),
        ("print('epoch ' + str(epoch) + ' loss: ' + str(loss))", "epoch {epoch} loss: {loss}"),
        ("print(f'{name}: step {i} loss {x:.2f}')", ": step {step} loss {loss}"),
        ("print(f'loss {x:.2f} of {name}')", "loss {loss} of"),
        ("print(f'of {{loss}} {loss:.2f}')", "of {{loss}} {loss}"),
        ("print(f'at {loss:.2f} {loss:.2f}')", "at {loss} {loss_2}"),
        ("print('at {:.1f} {acc:.1f}'.format(lr, acc=test_acc))", "at {lr} {acc}"),
    ],
)
def test_a_print_becomes_a_pattern(source: str, pattern: str) -> None:
    assert patterns(source) == [pattern]


@pytest.mark.parametrize(
    "source",
    ["print('done')", "print(f'saved {path}')", "print(f'took {t:.1f} s')", "f(f'loss {x}')", "print('{'.format(1))"],
)
def test_a_line_without_a_metric_is_none(source: str) -> None:
    assert patterns(source) == []


def test_lines_of_one_print_are_looked_at_one_by_one() -> None:
    assert patterns("print(f'\\nepoch {e}\\nval loss {x}\\n')") == ["val loss {val_loss}"]


def test_meters_are_told_by_their_mean_and_lines_by_what_they_are_of() -> None:
    meters = "'Loss {loss.val:.4f} ({loss.avg:.4f}) Prec@1 {top1.val:.3f} ({top1.avg:.3f})'.format(loss=a, top1=top1)"
    source = f"print('Epoch: [{{0}}][{{1}}/{{2}}] ' {meters})\nprint('Test: ' {meters})\n"
    train, test = patterns(source.replace("format(loss", "format(epoch, i, len(x), loss"))
    assert train == "Epoch: [{epoch}][{i}/{i_total}] Loss {loss} ({loss_avg}) Prec@1 {top1} ({top1_avg})"
    assert test == "Test: Loss {test_loss} ({test_loss_avg}) Prec@1 {test_top1} ({test_top1_avg})"
    metrics = find_metrics(find_patterns([ast.parse(source)]))
    assert [one.name for one in metrics][:4] == ["test_loss", "test_loss_avg", "test_top1", "test_top1_avg"]


def test_held_out_lines_stay_if_there_are_too_many() -> None:
    source = "\n".join(f"print(f'part {index} loss {{x}}')" for index in range(5)) + "\nprint(f'test loss {x}')\n"
    assert len(patterns(source)) == 4
    assert "test loss {test_loss}" in patterns(source)


def test_metrics_come_in_the_order_of_their_likelihood() -> None:
    source = "print(f'loss {a} train acc {b}')\nprint(f'Test: accuracy {c}/{d}, error {e}')\n"
    metrics = find_metrics(find_patterns([ast.parse(source)]))
    assert [(one.name, one.progress, one.better) for one in metrics] == [
        ("accuracy", "correct/total", "higher"),
        ("error", "error", "lower"),
        ("loss", "loss", "lower"),
        ("train_acc", "train_acc", "higher"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "file.write(f'loss {loss}')",
        "print(f'loss {loss}', file=log)",
        "file.write(' '.join(map(str, weights)))",
        "print(f'{loss:.2f} {acc:.2f}')",
    ],
)
def test_what_goes_into_a_file_and_numbers_alone_are_no_pattern(source: str) -> None:
    assert patterns(source) == []


def test_what_a_person_sees_is_a_line_wherever_it_is_written() -> None:
    source = "print(f'loss {a}', file=sys.stderr)\nsys.stdout.write(f'acc {b}')\ntqdm.write(f'error {c}')\n"
    assert patterns(source) == ["loss {loss}", "acc {acc}", "error {error}"]
