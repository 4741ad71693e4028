"""Steps are values: equal where they do the same, so that a stack's code is made once."""

import msgspec

from orchestrator.code.steps import BranchContent, CodeStep


def test_equal_steps_are_one_key() -> None:
    assert len({(CodeStep(patch="a.diff"),), (CodeStep(patch="a.diff"),), (CodeStep(ref="a.diff"),)}) == 2


def test_what_a_branch_is_made_of_is_written_and_read() -> None:
    content = BranchContent(experiment="E5", steps=(CodeStep(ref="main"),), message="E5: a change", spec=b"{}")
    assert msgspec.json.decode(msgspec.json.encode(content), type=BranchContent) == content
