import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.streams import generator, stream_seed

names = st.lists(st.text(st.characters(codec="utf-8")) | st.integers(0, 10**6), max_size=4)
paths = st.tuples(st.integers(0, 9), st.sampled_from(["init", "order", "labels"]), st.integers(0, 99))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), names)
def test_a_seed_fits_in_63_bits_and_depends_on_nothing_else(seed: int, path: list[str | int]) -> None:
    assert 0 <= stream_seed(seed, *path) < 2**63
    assert stream_seed(seed, *path) == stream_seed(seed, *path)


@settings(deadline=None, max_examples=30)
@given(st.lists(paths, unique=True))
def test_streams_of_different_names_differ(different: list[tuple[int, str, int]]) -> None:
    assert len({stream_seed(*path) for path in different}) == len(different)


def test_a_seed_never_changes_from_one_version_to_the_next() -> None:
    # Another number here would give every run of every old campaign other results.
    assert stream_seed(0, "augment", "noise", 3) == 6_265_800_922_481_265_311


def test_drawing_more_in_one_stream_shifts_no_other() -> None:
    alone = torch.rand(4, generator=generator(0, "b"))
    torch.rand(100, generator=generator(0, "a"))
    assert torch.equal(torch.rand(4, generator=generator(0, "b")), alone)
    assert not torch.equal(torch.rand(4, generator=generator(0, "a")), alone)
    assert not torch.equal(torch.rand(4, generator=generator(1, "b")), alone)


def test_a_stream_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(5, generator=generator(0, "a"))
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_lives_on_the_device_it_is_asked_for() -> None:
    assert generator(0, "a").device == torch.device("cpu")
    assert generator(0, "a", device=torch.device("cpu")).device == torch.device("cpu")
