"""A campaign file as YAML: what is read, what is refused unread, and the line of every key."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.source import Source, ill_formed
from orchestrator.errors import SpecError
from tests.orchestrator.campaign.conftest import LITTLE, Check, changed


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: there is no such file; name the campaign with -f FILE"):
        load_campaign(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["", "- 1", "just a word"])
def test_a_file_that_is_no_mapping_is_told(check: Check, text: str) -> None:
    with pytest.raises(SpecError, match="a campaign is a mapping"):
        check(text)


def test_nested_aliases_cannot_expand_without_end(check: Check) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(SpecError, match="more than 100000 values"):
        check(bomb)


NUMBERS = ("margin: 1.0", "seeds: 2", "learning_rate: 1e-3", "dim: 16", "loss.gamma: 2.0", "packets: [0, 4]}\n    V")


NO_NUMBERS = ("1e400", "-1e400", ".nan", ".inf", "-.inf", "1" + "0" * 400, str(2**70), "-9007199254740993", "9" * 5000)


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("number", NO_NUMBERS)
def test_a_number_that_no_program_can_hold_is_refused_with_its_line(check: Check, field: str, number: str) -> None:
    name, _, rest = field.partition(":")
    value = f"[0, {number}]}}\n    V" if rest.startswith(" [") else number
    with pytest.raises(SpecError, match=r"experiments\.yaml:\d+: ") as raised:
        check(changed(field, f"{name}: {value}"))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]\n", r"experiments\.yaml:1: .*is an alias inside of what it names"),
        ("a: &a {b: *a}\n", r"experiments\.yaml:1: .*is an alias inside of what it names"),
        ("a: " + "[" * 1500 + "]" * 1500 + "\n", "lie too deep in each other"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", r"experiments\.yaml:1: .*more than 50 deep"),
        ("campaign: x\ntitle: a\x00b\n", r"experiments\.yaml:2: YAML cannot hold the sign `.*`; take it out"),
        ("campaign: x\ntitle: a\x1bb\n", r"experiments\.yaml:2: YAML cannot hold the sign `.*`; take it out"),
        ("campaign: !!python/object:os.system x\n", r"experiments\.yaml:1: cannot read"),
        ("%YAML 9.9\n---\na: b\n", r"this is not YAML|a campaign is|there is no|missing"),
        ("%FOO\n", "this is not YAML"),
        ("a: b\n---\nc: d\n", "this is not YAML"),
        ("a: *nowhere\n", r"experiments\.yaml:1: this is not YAML"),
    ],
)
def test_yaml_that_is_a_trap_is_refused_in_a_sentence(check: Check, text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check(text)


def test_aliases_that_multiply_without_end_are_refused(check: Check) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(SpecError, match="are aliases nested in each other"):
        check("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LITTLE.encode("utf-16"), r"experiments\.yaml:1: this is UTF-16; save the file as UTF-8"),
        (
            LITTLE.replace("A little", "Größe").encode("latin-1"),
            r"experiments\.yaml:2: this is not UTF-8 \(byte 0xf6\); save the file as UTF-8",
        ),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=words):
        load_campaign(path)


def test_the_mark_that_windows_puts_in_front_of_utf8_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + LITTLE.encode())
    assert load_campaign(path)[0].campaign == "little"


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 10**6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_huge, r"has 100,000,000 bytes, at most 4,194,304 are read"),
        (os.mkfifo, "is no plain file"),
        (Path.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "is no plain file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_campaign_file_is_refused_unread(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "experiments.yaml"
    make(path)
    with pytest.raises(SpecError, match=words):
        load_campaign(path)


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(LITTLE)
    spec, source = load_campaign(path)
    assert at_profile(spec, source, None).baseline.params["optim"]["learning_rate"] == 1e-3


def test_every_key_has_its_line_and_an_unknown_one_that_of_the_key_around_it(tmp_path: Path) -> None:
    source = Source(tmp_path / "experiments.yaml", LITTLE)
    assert source.line_of(("experiments", "E5", "change", "loss.gamma")) == 25
    assert source.line_of(("experiments", "E5", "on")) == 21
    assert source.line_of(()) == 1


def test_a_message_names_the_profile_where_the_value_stands_there(tmp_path: Path) -> None:
    source = Source(tmp_path / "experiments.yaml", LITTLE)
    where = ("baseline", "optim", "learning_rate")
    assert str(source.refuse("too high", where)).endswith(":18: baseline.optim.learning_rate: too high")
    source.profile = "quick"
    assert str(source.refuse("too high", where)).endswith(":17: profiles.quick.baseline.optim.learning_rate: too high")


def test_an_error_is_raised_again_with_its_file_and_line(tmp_path: Path) -> None:
    source = Source(tmp_path / "experiments.yaml", LITTLE)
    with (
        pytest.raises(SpecError, match=r"experiments\.yaml:23: experiments\.E5\.group: no such group"),
        source.locating(),
    ):
        raise SpecError("no such group", ("experiments", "E5", "group"))


@pytest.mark.parametrize("name", ["E5", "wide-mlp", "a.b_c"])
def test_a_name_is_letters_and_digits_joined_by_single_signs(name: str) -> None:
    assert ill_formed(name) == ""


@pytest.mark.parametrize("name", ["", "5E", "E 5", "a--b", "-a", "a-", "größe", "../up"])
def test_what_is_no_name_is_told(name: str) -> None:
    assert ill_formed(name).endswith(f"found `{name}`")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 2", "seeds: 2\nseeds: 3", r":6: `seeds` is given twice, first in line 5; keep one"),
        ("margin: 1.0", "margin: 1e999", r":4: `1e999` reads as the number inf; quote it"),
        ("question: Tell radios apart.", "question: 2026-01-01", r":3: `2026-01-01` reads as a date; quote it"),
        ("margin: 1.0", "margin: [1", r"this is not YAML"),
        ("question: Tell radios apart.", "question: !!python/object:os.system x", r":3: cannot read|:3: .*reads as"),
    ],
)
def test_what_yaml_cannot_mean_here_is_told_with_its_line(check: Check, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(changed(old, new))
