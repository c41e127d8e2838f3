"""A process of its own for engines: what importing vLLM leaves behind ends with it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def one_process(timeout: float) -> Iterator[Callable]:
    """call(function, *arguments) in one fresh process, one after the other, each at most `timeout` seconds."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield lambda function, *arguments: executor.submit(function, *arguments).result(timeout=timeout)
