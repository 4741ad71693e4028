"""`knockout doctor`, `data`, `gc` and `checkout` as a person sees them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import doctor as api_doctor
from orchestrator.cli.main import main


def test_doctor_looks_at_python_torch_git_and_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("Python", "torch", "git", "GB free"))


class TestShard:
    def test_cuts_the_captures_of_a_profile_once(
        self, campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["data", "shard", "-f", str(campaign), "--profile", "quick", "--out", str(tmp_path / "shards")]
        assert main(words) == 0
        assert "LocA-val.npy: 20 bursts of 64 samples" in capsys.readouterr().out.replace("\n", " ")
        manifest = json.loads((tmp_path / "shards" / "manifest.json").read_bytes())
        assert {name: shard["bursts"] for name, shard in manifest["captures"].items()} == {
            "LocA": 40,
            "LocA-val": 20,
            "LocD": 60,
        }
        hashes = {shard["source"]["path"]: shard["source"]["sha256"] for shard in manifest["captures"].values()}
        for path, sha256 in hashes.items():
            assert hashlib.sha256((campaign.parent / path).read_bytes()).hexdigest() == sha256
        assert main(words) == 0
        assert "its 3 shards are there already" in capsys.readouterr().out

    def test_refuses_a_folder_with_something_else_in_it(
        self, campaign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "papers"
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")
        assert main(["data", "shard", "-f", str(campaign), "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"knockout: {out}: holds `thesis.tex`, which is none of these shards")
        assert [path.name for path in out.iterdir()] == ["thesis.tex"]

    def test_must_be_told_where_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit_info:
            main(["data", "shard"])
        assert exit_info.value.code == 2
        assert "required: --out" in capsys.readouterr().err


def test_a_machine_with_something_bad_gives_status_2(
    study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [api_doctor.Finding(kind=kind, what=f"a [{kind}] thing") for kind in ("ok", "note", "bad")]
    for number, status in ((3, 2), (2, 0)):
        monkeypatch.setattr(api_doctor, "doctor", lambda *_, gpu, last=number: iter(findings[:last]))
        assert main(["doctor", "-f", str(study.file)]) == status
        lines = ["ok   a [ok] thing", "note a [note] thing", "bad  a [bad] thing"]
        assert capsys.readouterr().out.splitlines() == lines[:number]


def test_what_is_not_there_cannot_be_removed_or_checked_out(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc", "-f", str(study.file)]) == 0
    assert capsys.readouterr().out == "there is nothing to remove\n"
    assert main(["checkout", "E5", "-f", str(study.file)]) == 2
    assert capsys.readouterr().err.startswith("knockout: ")
