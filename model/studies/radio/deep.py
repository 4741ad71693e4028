"""What is known of a configuration once its captures are open: size, whether it can be trained here, shared bursts.

It loads torch and h5py, so `model.studies.radio.task` imports it only for a deep check.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import msgspec

from model.config import DataConfig
from model.data.captures import CaptureError
from model.data.shared_bursts import Question, find_shared_bursts
from model.files import write_atomically
from model.studies.radio.describe import describe
from model.studies.radio.params import Answer, CampaignParams, Problem, by_hand_job

APART_FORMAT = 1
"""Version of the comparison. If the number rises, bursts that were found distinct before are compared again."""
TRAINER = ("model.studies.radio.study", "model.train.job")
"""What a training imports beside what describes it."""


class SharedBursts:
    """Compares the bursts of roles by content. A comparison that found them distinct is remembered.

    Attributes:
        root: paths of captures are relative to it.
        hashes: path of a capture -> hash of its file.
        remembered: the folder that keeps hashes of bursts and comparisons.
    """

    def __init__(self, root: Path, hashes: Mapping[str, str], remembered: Path) -> None:
        self.root, self.hashes, self.remembered = root, dict(hashes), remembered
        self._found: dict[str, str | None] = {}

    def find(self, data: DataConfig) -> str | None:
        """Say which roles wrongly share bursts, or which capture cannot be read; None if all is well."""
        key = self._content_key(data)
        if key not in self._found:
            self._found[key] = self._compare(data, self.remembered / f"{key}.apart")
        return self._found[key]

    def _compare(self, data: DataConfig, found_apart: Path) -> str | None:
        # An empty file, named by the content of the bursts: another campaign finds it too.
        if found_apart.is_file():
            return None
        folder, remembered = str(self.root), str(self.remembered)
        question = Question(data=data, data_folder=folder, sha256=self.hashes, remembered=remembered)
        try:
            shared = find_shared_bursts(question)
        except CaptureError as error:
            return str(error)
        if shared is None:
            # A file that cannot be written costs the time of another comparison, and nothing else.
            with suppress(OSError):
                write_atomically(found_apart, b"")
        return shared

    def _content_key(self, data: DataConfig) -> str:
        """Return a hash of the bursts of all roles by content: the names of files do not matter."""

        def content(name: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
            capture = data.captures[name]
            return self.hashes.get(capture.path, capture.path), capture.devices, capture.packets

        roles = [
            list(map(content, names)) for names in (data.train, data.validate, data.choose, data.report, data.confirm)
        ]
        parts = [APART_FORMAT, roles, data.samples, data.layout]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def look_deeper(
    answers: Sequence[Answer], configs: Sequence[CampaignParams | None], root: Path, shared: SharedBursts | None
) -> list[Answer]:
    """Add facts and problems to answers.

    Args:
        answers: one for each configuration.
        configs: the configurations; None for one that has a problem already.
        root: paths of captures are relative to it.
        shared: compares bursts; None to compare none.

    Raises:
        ModuleNotFoundError: the code imports a module that is not there.
    """
    # An experiment's own code may import what is not there. That is told before a training starts.
    for name in TRAINER:
        import_module(name)
    pairs = zip(answers, configs, strict=True)
    return [known if config is None else _look_at(known, config, root, shared) for known, config in pairs]


def _look_at(known: Answer, config: CampaignParams, root: Path, shared: SharedBursts | None) -> Answer:
    job = by_hand_job(config)
    found = describe(job, root)
    problem = Problem(message=found.problem) if found.problem is not None else None
    if problem is None and shared is not None and (sentence := shared.find(job.data)) is not None:
        problem = Problem(message=sentence, at=("data",))
    facts = {"tokens": found.tokens, "parameters": found.parameters}
    return msgspec.structs.replace(known, problem=problem, facts=facts)
