"""What a check says of a program, without a trial and with one. Rows are kept: a run that was stopped goes on."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

import gainstage as gs
from programs.collection import PAIRS
from programs.pair import Pair

TRIAL = 200
STEPS = (0, TRIAL)


@dataclass(frozen=True)
class Question:
    name: str
    faulty: bool
    steps: int


@dataclass(frozen=True)
class Answer:
    """Codes and causes of the warnings and errors in the order of the report; ``raised`` where there is no report."""

    codes: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    seconds: float = 0.0
    raised: str = ""


def questions(pairs: Iterable[Pair]) -> list[Question]:
    return [
        Question(pair.name, faulty, steps)
        for pair in pairs
        for faulty in ((True, False) if pair.causes else (False,))
        for steps in STEPS
    ]


def answer(question: Question) -> Answer:
    torch.set_num_threads(1)
    pair = next(pair for pair in PAIRS if pair.name == question.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which those whose programs these are overlooked as well
        program = pair.make(question.faulty)
        started = time.perf_counter()
        try:
            report = gs.check(
                program.model, program.batches, program.loss, optimizer=program.optimizer, steps=question.steps
            )
        # A crash is what the page is to tell of.
        except Exception as error:
            return Answer(raised=f"{type(error).__name__}: {error}"[:200])
    grave = [finding for finding in report.findings if finding.severity != "info"]
    seconds = round(time.perf_counter() - started, 3)
    return Answer(tuple(finding.code for finding in grave), tuple(finding.cause for finding in grave), seconds)


def answers(asked: Sequence[Question], store: Path, workers: int) -> dict[Question, Answer]:
    """Those in the store, and the others, which are added to it."""
    found = dict(_kept(store))
    missing = [question for question in asked if question not in found]
    store.parent.mkdir(parents=True, exist_ok=True)
    if store.exists() and not store.read_bytes().endswith(b"\n"):
        store.write_bytes(store.read_bytes() + b"\n")  # a run was killed while it wrote
    with store.open("a", encoding="utf-8") as file:
        for done, (question, said) in enumerate(_measured(missing, workers), 1):
            found[question] = said
            file.write(json.dumps([asdict(question), asdict(said)]) + "\n")
            file.flush()
            print(f"programs {done}/{len(missing)} {question.name}", file=sys.stderr)
    return {question: found[question] for question in asked}


def _kept(store: Path) -> Iterator[tuple[Question, Answer]]:
    for line in store.read_text(encoding="utf-8").splitlines() if store.exists() else ():
        try:
            question, said = json.loads(line)
        except ValueError:  # the last line of a run that was killed while it wrote
            continue
        yield (
            Question(**question),
            Answer(tuple(said["codes"]), tuple(said["causes"]), said["seconds"], said["raised"]),
        )


def _measured(missing: Sequence[Question], workers: int) -> Iterator[tuple[Question, Answer]]:
    if workers == 1:
        yield from ((question, answer(question)) for question in missing)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from zip(missing, pool.map(answer, missing), strict=True)
