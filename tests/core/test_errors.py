from __future__ import annotations

import pickle

import pytest

from mtdense.core import errors
from mtdense.core.errors import MTDenseError

KINDS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", KINDS)
def test_message_has_problem_and_mend(kind: type[MTDenseError]) -> None:
    error = kind("label.png has class 77 of 13", "set ignore_values: [77]")
    assert isinstance(error, MTDenseError)
    assert str(error) == "label.png has class 77 of 13\n  Mend: set ignore_values: [77]"
    assert (error.problem, error.mend) == ("label.png has class 77 of 13", "set ignore_values: [77]")


@pytest.mark.parametrize("kind", KINDS)
def test_message_survives_a_worker_process(kind: type[MTDenseError]) -> None:
    error = kind("a.png is truncated", "copy it again")
    # A DataLoader re-raises `type(error)(message)`; a process pool pickles.
    assert str(kind(str(error))) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
