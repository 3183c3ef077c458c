"""What the float model answered in an earlier run, in the user's cache: a metric that asks the same again need not wait for it.

An entry is known by all that an answer depends on: the exported graph, the weights, the files that the model's classes are
written in, the tools and the machine. Each answer in it is known by the hash of its question, so that another metric finds those
that it asks for as well.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgekit.arrays import digest, save_arrays
from edgekit.engine import fingerprint
from edgekit.engine.child import LOG, RESULT, content
from edgekit.engine.identity import Places
from edgekit.engine.machine import machine_facts
from edgekit.engine.stage_cache import StageCache
from edgekit.engine.stage_folder import clear
from edgekit.trace.sources.subject import Subject

FILE = "answers.npz"
LABEL = "answers of the float model"


class KeptAnswers:
    """The answers of one model.

    Args:
        root: The folder of the cache.
        subject: What the answers depend on -> its hash.
        work: A folder of one's own, which they are copied through.
    """

    def __init__(self, root: Path, subject: Mapping[str, str], work: Path) -> None:
        self._cache, self._work, self._places = StageCache(root), work, Places(work.parent)
        facts = [dict(subject), fingerprint.of_tools(), machine_facts()]
        self._identity = fingerprint.of_text("answers", json.dumps(facts, sort_keys=True))[:32]
        self._known = self._read()

    @classmethod
    def of(cls, root: str, subject: Subject, work: Path) -> "KeptAnswers | None":
        """Returns those of a model; None without a cache, or where the files of its code are not known."""
        if not root or not subject.code:
            return None
        return cls(Path(root), {**subject.content, "code": subject.code}, work)

    def before(self, call: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
        """Returns a model that repeats what it answered before, and works out the rest."""

        def answer(*arrays: np.ndarray) -> list[np.ndarray]:
            key = digest(arrays)
            found: list[np.ndarray] = []
            while (name := f"{key}_{len(found)}") in self._known:
                found.append(self._known[name])
            return found or call(*arrays)

        return answer if self._known else call

    def keep(self, answers: Mapping[str, np.ndarray]) -> None:
        """Keeps the answers of this run, `<hash of the question>_<output>`, unless all of them were known."""
        if answers.keys() <= self._known.keys():
            return
        self._clear()
        save_arrays(self._work / FILE, answers)
        (self._work / LOG).touch()
        (self._work / RESULT).write_text(json.dumps({"result": {}, "files": content(self._work)}))
        self._cache.replace(self._identity, self._work, self._places, LABEL)
        self._clear()

    def _read(self) -> dict[str, np.ndarray]:
        self._clear()
        if not self._cache.take(self._identity, self._work, self._places):
            return {}
        try:
            if json.loads((self._work / RESULT).read_bytes())["files"] != content(self._work):
                return {}  # damaged
            with np.load(self._work / FILE, allow_pickle=False) as kept:
                return dict(kept)
        finally:
            self._clear()

    def _clear(self) -> None:
        self._work.mkdir(exist_ok=True)
        clear(self._work)
