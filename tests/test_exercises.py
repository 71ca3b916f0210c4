"""The exercises' checks are tried: the solution passes, plausible wrong answers fail.

The pattern of an exercise is in chapters/_template.ipynb, the tags are these:

`imports`            what the notebook imports
`exercise-context`   data or functions of the chapter that a check needs
(no tag)             where the reader writes: a body of raise NotImplementedError("…")
`exercise-check`     defines check_<name> and calls attempt(check_<name>, <name>)
`exercise-solution`  defines <name>_solution and calls check_<name>(<name>_solution)

The wrong answers to a notebook's exercises stand in tests/wrong_answers/<notebook>.py:
WRONG = {"check_<name>": [answer, answer, ...]}, at least two for each check.
"""

from __future__ import annotations

import functools
import importlib.util
import re

import pytest
import torch
from support import LESSONS, ROOT, code_cells, plain_python, read, tags

from attn_utils.exercises import attempt

RUN = {"imports", "exercise-context", "exercise-check"}
UNANSWERED = "raise NotImplementedError("
SOLUTION_TITLE = '# @title Solution {} {{ display-mode: "form" }}'


def exercises(path) -> dict[int, list]:
    """The code cells of each exercise: those between its heading and the next heading."""
    found: dict[int, list] = {}
    number = None
    for cell in read(path).cells:
        headings = re.findall(r"(?m)^#+ (.*)", cell.source) if cell.cell_type == "markdown" else []
        for heading in headings:
            match = re.match(r"Exercise (\d+)", heading)
            number = int(match.group(1)) if match else None
            if number is not None:
                found[number] = []
        if cell.cell_type == "code" and number is not None:
            found[number].append(cell)
    return found


def checks(path) -> list[str]:
    """The names of the checks of a notebook."""
    cells = [cell for cell in code_cells(read(path)) if "exercise-check" in tags(cell)]
    return [name for cell in cells for name in re.findall(r"(?m)^def (check_\w+)", cell.source)]


def run(cell, path, names: dict) -> None:
    """Run one cell in a namespace."""
    title = cell.source.splitlines()[0]
    exec(compile(plain_python(cell.source), f"{path.name}, cell “{title}”", "exec"), names)


@functools.cache
def namespace(path) -> dict:
    """What a reader has who ran only the imports, the context and the exercises."""
    names: dict = {"__name__": "__main__"}
    for cell in code_cells(read(path)):
        if RUN & set(tags(cell)) or UNANSWERED in cell.source:
            run(cell, path, names)
    return names


@functools.cache
def wrong_answers(path) -> dict[str, list]:
    """The plausible wrong answers to a notebook's exercises, by check."""
    file = ROOT / "tests" / "wrong_answers" / f"{path.stem}.py"
    assert file.is_file(), f"tests/wrong_answers/{path.stem}.py does not exist"
    spec = importlib.util.spec_from_file_location("wrong_" + path.stem.replace("-", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG


def outcome(check, answer) -> Exception | None:
    """What a check raises for an answer."""
    try:
        check(answer)
    except Exception as error:
        return error
    return None


each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_exercise = pytest.mark.parametrize(
    ("path", "number"),
    [pytest.param(p, n, id=f"{p.stem}-{n}") for p in LESSONS for n in exercises(p)],
)
each_check = pytest.mark.parametrize(
    ("path", "check"),
    [pytest.param(p, c, id=f"{p.stem}-{c}") for p in LESSONS for c in checks(p)],
)


@each_exercise
def test_pattern(path, number):
    """Answer, check, solution, in this order; the solution folded away."""
    cells = exercises(path)[number]
    (answer,) = [cell for cell in cells if UNANSWERED in cell.source]
    (check,) = [cell for cell in cells if "exercise-check" in tags(cell)]
    (solution,) = [cell for cell in cells if "exercise-solution" in tags(cell)]
    assert cells.index(answer) < cells.index(check) < cells.index(solution)
    name = re.search(r"(?m)^def check_(\w+)", check.source).group(1)
    assert re.search(rf"(?m)^(def|class) {name}\b", answer.source), f"define {name}"
    assert check.source.rstrip().endswith(f"attempt(check_{name}, {name})")
    assert solution.source.splitlines()[0] == SOLUTION_TITLE.format(number)
    assert f"check_{name}({name}_solution)" in solution.source
    assert "hide-cell" in tags(solution)
    assert solution.metadata.get("cellView") == "form"
    assert solution.metadata.get("jupyter", {}).get("source_hidden") is True


@each_check
def test_solution_passes(path, check, capsys):
    names = dict(namespace(path))
    capsys.readouterr()
    name = check.removeprefix("check_")
    cells = [c for c in code_cells(read(path)) if "exercise-solution" in tags(c)]
    (cell,) = [c for c in cells if f"{check}({name}_solution)" in c.source]
    run(cell, path, names)
    names["attempt"](names[check], names[f"{name}_solution"])
    assert "passes" in capsys.readouterr().out


@each_check
def test_unanswered_is_said(path, check, capsys):
    names = namespace(path)
    capsys.readouterr()
    names["attempt"](names[check], names[check.removeprefix("check_")])
    assert "not answered yet" in capsys.readouterr().out


@each_check
def test_wrong_answers_fail(path, check):
    """Each fails by the check's own assertion, which has a message, not by some other error."""
    wrong = wrong_answers(path).get(check, [])
    assert len(wrong) >= 2, f"tests/wrong_answers/{path.stem}.py has {len(wrong)} for {check}"
    for answer in wrong:
        said = getattr(answer, "__name__", answer)
        error = outcome(namespace(path)[check], answer)
        assert error is not None, f"{check} accepts the wrong answer {said}"
        failed = isinstance(error, AssertionError)
        assert failed, f"{check} meets {said} with {type(error).__name__}: {error}"
        assert str(error).strip(), f"{check} rejects {said} without saying why"


@each_lesson
def test_every_exercise_has_its_check(path):
    assert exercises(path), "there is no exercise"
    assert len(checks(path)) == len(exercises(path))


@each_lesson
def test_no_answer_to_a_check_that_is_gone(path):
    assert set(wrong_answers(path)) == set(checks(path))


def test_an_error_of_pytorchs_is_not_an_unanswered_exercise():
    def answer():
        return torch.softmax(torch.tensor([1, 2]), dim=0)  # integers: NotImplementedError

    def check_answer(answer):
        answer()

    with pytest.raises(NotImplementedError, match="softmax"):
        attempt(check_answer, answer)
