"""The supervisor's own files in a run folder."""

from pathlib import Path

from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.places import RunFiles

FILES = RunFiles(RunFolder(Path("/runs/a")))


def test_each_file_has_a_name_of_its_own() -> None:
    own = [FILES.launch, FILES.progress, FILES.attempts, FILES.outputs]
    assert [path.name for path in own] == ["launch.json", "progress.jsonl", "attempts.jsonl", "outputs"]
    assert {path.parent for path in own} == {Path("/runs/a")}


def test_what_no_start_removes_is_what_others_write_and_what_tells_of_attempts() -> None:
    assert {FILES.launch, FILES.attempts, FILES.folder.lock, FILES.folder.log, FILES.folder.config} < set(FILES.kept)
    assert FILES.progress not in FILES.kept
