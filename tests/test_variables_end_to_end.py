"""The value of a variable in a capture's path stands nowhere but in the call that opens the file."""

from pathlib import Path

from tests.study_harness import BASE, Study

SECRET = "hunter2-correct-horse"
"""What the variable holds: a folder of captures, and a word that nobody should read."""
PATHS = """\
seeds: 1
data:
  captures:
    LocA: {path: "${KNOCKOUT_TEST_SECRET}/LocA.h5"}
    LocA-val: {path: "${KNOCKOUT_TEST_SECRET}/LocA.h5"}
    LocD: {path: "${KNOCKOUT_TEST_SECRET}/LocD.h5"}
baseline:
  optim: {epochs: 1}
"""


def find_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def all_objects(study: Study) -> str:
    """Everything that git holds, as text."""
    hashes = study.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    return "\n".join(study.git("cat-file", "-p", name) for name in hashes)


def test_the_value_is_neither_printed_nor_written_nor_committed(tmp_path: Path) -> None:
    study = Study(tmp_path, KNOCKOUT_TEST_SECRET=str(tmp_path / SECRET))
    study.write_campaign(BASE, PATHS)
    study.copy_model()
    study.make_repository()
    said = [study.knockout(*words) for words in (("plan",), ("run",), ("report",), ("show", "E5"), ("why", "E5"))]
    assert [done.returncode for done in said] == [0] * len(said), [done.stderr for done in said]
    # Where it is wrong, a sentence names the variable.
    (tmp_path / SECRET / "LocD.h5").write_bytes(b"no HDF5")
    said += [study.knockout(*words) for words in (("plan",), ("run",))]
    assert "${KNOCKOUT_TEST_SECRET}/LocD.h5" in said[-1].stderr
    assert not [done.args for done in said if SECRET in done.stdout + done.stderr]
    assert sorted(path.name for path in (tmp_path / SECRET).iterdir())
    assert find_secret(study.repo / "results") == []
    assert find_secret(study.repo / "reports") == []
    objects = all_objects(study)
    assert "${KNOCKOUT_TEST_SECRET}/LocA.h5" in objects
    assert SECRET not in objects
