"""The desk of a network: requests come in from any task, are put together, and answered.

One thread works. It takes what has come in, waits a moment while more is coming, and joins what
can be decoded together: requests of one beam size, of whatever module, user or length. Several such
batches take turns, a step each, so that a short answer need not wait for a long one.
"""

from __future__ import annotations

import queue
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from bb3.core.errors import ModelError
from bb3.nets.decoding import Ask, Decoding, Hypothesis, Settings
from bb3.nets.incremental import score
from bb3.nets.r2c2 import R2C2ForConditionalGeneration, encode

Rows = tuple[tuple[int, ...], ...]
Kind = tuple[int, bool]  # beam size, whether to sample

GATHER_S = 0.003  # a pause in which nothing comes ends the gathering of a batch
BEAMS_AT_ONCE = 256  # of one batch
TOKENS_AT_ONCE = 16_384  # encoder outputs of one batch, or of one pass, padding included
KEPT_TOKENS = 8_192  # encoder outputs kept for an input that comes again
_NO_MEMORY = re.compile("out of memory|(allocate|enough) memory|ALLOC_FAILED", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Job:
    """Something to decode (``settings``) or to score (``answers``).

    Attributes:
        rows: the encoder's rows.
        context, source: see ``bb3.nets.decoding.Ask``.
        answers: candidate answers, each with its end token.
        settled: told of the answer's beginning whenever it grew; called in the worker's thread.
        cached: tokens of ``rows`` whose encoding was at hand.
        answer, scores: the future results. Cancelling one gives the job up.
    """

    rows: Rows
    settings: Settings = field(default_factory=Settings)
    context: Sequence[int] = ()
    source: Sequence[int] = ()
    answers: Sequence[Sequence[int]] = ()
    settled: Callable[[tuple[int, ...]], None] | None = None
    cached: int = 0
    answer: Future[Hypothesis] = field(default_factory=Future)
    scores: Future[list[float]] = field(default_factory=Future)
    shown: int = 0

    @property
    def tokens(self) -> int:
        """Tokens the encoder reads."""
        return sum(map(len, self.rows))

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.answer.cancelled() or self.scores.cancelled()

    @property
    def over(self) -> bool:
        """Whether it is answered or given up."""
        return self.answer.done() or self.scores.done()

    def fail(self, error: Exception) -> None:
        """Tell whoever waits."""
        for future in (self.answer, self.scores):
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)


class Desk:
    """Answers jobs with one network.

    Args:
        network: on its device, ready to run.
        prefix: ids the decoder is seeded with.
        threads: of the matrix products on a CPU; 0: PyTorch's own choice.
    """

    def __init__(
        self, network: R2C2ForConditionalGeneration, prefix: Sequence[int], threads: int = 0
    ) -> None:
        self._network = network
        self._prefix = list(prefix)
        self._encoded = _Kept(KEPT_TOKENS)
        self._incoming: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: list[_Batch] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(threads,), name="bb3-r2c2", daemon=True
        )
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take a job. Raises ModelError when the desk is closed."""
        if self._closed.is_set():
            raise ModelError("The model is closed.")
        self._incoming.put(job)

    def close(self) -> None:
        """Give up all jobs and end the thread; safe to call twice."""
        self._closed.set()
        self._incoming.put(None)
        self._thread.join()

    # --- the worker's thread ------------------------------------------------------------------

    def _work(self, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        waiting: list[Job] = []
        while not self._closed.is_set():
            waiting += self._arrived(wait=not self._running and not waiting)
            waiting = [job for job in waiting if not job.given_up]
            waiting = self._begin(waiting)
            for batch in list(self._running):
                again = partial(self._start, kind=batch.kind)
                if not self._attempt(batch.jobs, batch.step, again) or batch.done:
                    self._running.remove(batch)
        left = [job for batch in self._running for job in batch.jobs]
        for job in (*waiting, *left, *self._arrived(wait=False)):
            job.fail(ModelError("The model was closed before it answered."))

    def _arrived(self, *, wait: bool) -> list[Job]:
        """The jobs that came in; with ``wait`` at least one, and those that follow closely."""
        jobs: list[Job] = []
        try:
            job = self._incoming.get(block=wait)
            while job is not None:
                jobs.append(job)
                job = self._incoming.get(timeout=GATHER_S) if wait else self._incoming.get_nowait()
        except queue.Empty:
            pass
        return jobs

    def _begin(self, waiting: list[Job]) -> list[Job]:
        """Score what is to be scored, start what can be started; returns what has to wait."""
        scoring = [job for job in waiting if job.answers]
        while scoring:
            jobs, scoring = _fitting(scoring)
            self._attempt(jobs, partial(self._score, jobs), self._score)
        kinds: dict[Kind, list[Job]] = {}
        for job in waiting:
            if not job.answers:
                kinds.setdefault((job.settings.beam_size, job.settings.sample), []).append(job)
        busy = {batch.kind for batch in self._running}
        later: list[Job] = []
        for kind, jobs in kinds.items():
            if kind in busy:  # together they will be faster than beside one another
                later += jobs
                continue
            jobs, rest = _fitting(jobs)
            later += rest
            start = partial(self._start, kind=kind)
            self._attempt(jobs, partial(start, jobs), start)
        return later

    def _start(self, jobs: Sequence[Job], kind: Kind) -> None:
        asks = [
            Ask(encoded=encoded, settings=job.settings, context=job.context, source=job.source)
            for job, encoded in zip(jobs, self._encode(jobs), strict=True)
        ]
        self._running.append(_Batch(kind, list(jobs), Decoding(self._network, asks)))

    def _score(self, jobs: Sequence[Job]) -> None:
        found = score(
            self._network, self._encode(jobs), self._prefix, [job.answers for job in jobs]
        )
        for job, answers in zip(jobs, found, strict=True):
            if job.scores.set_running_or_notify_cancel():
                job.scores.set_result([float(logprobs.sum()) for logprobs in answers])

    def _encode(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Encoder outputs, each of the unlike inputs once, short ones with short ones."""
        known = {job.rows: self._encoded.get(job.rows) for job in jobs}
        for job in jobs:
            job.cached = 0 if known[job.rows] is None else job.tokens
        missing = [rows for rows, states in known.items() if states is None]
        for portion in _passes(missing):
            for rows, states in zip(portion, encode(self._network, portion), strict=True):
                known[rows] = states
                self._encoded.put(rows, states)
        return [encoded for job in jobs if (encoded := known[job.rows]) is not None]

    def _attempt(
        self,
        jobs: Sequence[Job],
        work: Callable[[], None],
        again: Callable[[Sequence[Job]], None],
    ) -> bool:
        """Whether ``work`` went well; else its jobs are told why not. Of several, each is tried
        ``again`` by itself, so that one fails no other; but not where words of it were told.
        """
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            told = _explained(error)
        else:
            return True
        # Not within the handler: there the error would keep alive what the work left in memory.
        self._encoded.clear()
        for job in jobs:
            if len(jobs) == 1 or job.shown:
                job.fail(told)
            elif not job.over:
                self._attempt([job], partial(again, [job]), again)
        return False


@dataclass(slots=True, eq=False)
class _Batch:
    """Jobs that are decoded together."""

    kind: Kind
    jobs: list[Job]
    decoding: Decoding
    done: bool = False

    def step(self) -> None:
        """A token for each job that goes on; those that ended get their answers."""
        for index in self.decoding.live:
            if self.jobs[index].given_up:
                self.decoding.cancel(index)
        before = set(self.decoding.live)
        self.done = not self.decoding.step()
        live = set(self.decoding.live)
        for index in before:
            job = self.jobs[index]
            if job.settled is not None:
                ids = self.decoding.settled(index)
                if len(ids) > job.shown:
                    job.shown = len(ids)
                    job.settled(ids)
        if ended := before - live:
            answers = self.decoding.answers()
            for index in ended:
                future = self.jobs[index].answer
                if future.set_running_or_notify_cancel():
                    future.set_result(answers[index][0])


class _Kept:
    """Encoder outputs by their rows, those used last, at most ``limit`` tokens in all."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._states: OrderedDict[Rows, Tensor] = OrderedDict()

    def get(self, rows: Rows) -> Tensor | None:
        states = self._states.get(rows)
        if states is not None:
            self._states.move_to_end(rows)
        return states

    def put(self, rows: Rows, states: Tensor) -> None:
        if len(states) > self._limit:
            return
        # Its own storage: a part of a batch's output would keep the whole alive.
        self._states[rows] = states.clone()
        self._held += len(states)
        while self._held > self._limit:
            _, oldest = self._states.popitem(last=False)
            self._held -= len(oldest)

    def clear(self) -> None:
        self._states.clear()
        self._held = 0


def _explained(error: Exception) -> ModelError:
    memory = isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))
    remedy = "Shorten the conversation, or set engine.dtype to int8." if memory else ""
    return ModelError(f"The network failed: {type(error).__name__}: {error}.", remedy=remedy)


def _fitting(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """The jobs that go into one batch, in the order they came, and those that have to wait."""
    batch: list[Job] = []
    rest: list[Job] = []
    beams = longest = 0
    for job in jobs:
        wider, longer = beams + job.settings.beam_size, max(longest, job.tokens)
        tokens = (len(batch) + 1) * longer
        if batch and (wider > BEAMS_AT_ONCE or tokens > TOKENS_AT_ONCE):
            rest.append(job)
        else:
            batch.append(job)
            beams, longest = wider, longer
    return batch, rest


def _passes(inputs: list[Rows]) -> list[list[Rows]]:
    """Inputs for one pass of the encoder each: those of like length together, none too big."""
    passes: list[list[Rows]] = []
    rows = 0
    for each in sorted(inputs, key=_longest):
        rows += len(each)
        if not passes or rows * _longest(each) > TOKENS_AT_ONCE:
            passes.append([])
            rows = len(each)
        passes[-1].append(each)
    return passes


def _longest(rows: Rows) -> int:
    return max(map(len, rows))
