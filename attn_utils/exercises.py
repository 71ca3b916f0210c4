"""Exercises: run the check of an exercise once the reader has answered it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def attempt(check: Callable[[Any], None], answer: Any) -> None:
    """Check an answer, or say that there is none yet.

    An exercise starts as a function (or class) whose body raises ``NotImplementedError``.
    Until the reader replaces that body, the notebook still runs from top to bottom.

    Args:
        check: a function that takes the answer and asserts what must hold for it.
        answer: the reader's function or class.

    Returns:
        None. One line is printed: not answered yet, or passed.

    Raises:
        AssertionError: the answer is wrong; the message says how.
    """
    name = check.__name__.removeprefix("check_")
    try:
        check(answer)
    except NotImplementedError as error:
        written = getattr(answer, "__code__", None)
        if written and str(error) not in written.co_consts:
            raise  # PyTorch raises it too, for instance for a softmax of integers
        print(f"Exercise not answered yet: write {name}, then run this cell again.")
    else:
        print(f"Well done: {name} passes its check.")
