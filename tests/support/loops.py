"""Many examples of one statement, in one test.

A test costs 5 ms whatever it does: a hundred strings that are all to be refused the same way, each
in a millisecond, are not worth a hundred of them.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Test = Callable[..., None]


def for_each(names: str, values: Mapping[str, Any] | Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, without a test for each; what fails notes the values it had.

    Of a mapping the keys are what examples are called. The fixtures are the same for all of them.
    """
    examples = values.items() if isinstance(values, Mapping) else ((repr(v), v) for v in values)
    pairs = list(examples)
    assert pairs, "there is nothing to try"
    taken = [name.strip() for name in names.split(",")]

    def looped_over(test: Test) -> Test:
        @functools.wraps(test)
        def looped(**fixtures: Any) -> None:
            for name, value in pairs:
                given = dict(zip(taken, value, strict=True)) if len(taken) > 1 else {names: value}
                try:
                    test(**fixtures, **given)
                except Exception as error:
                    error.add_note(f"{names}: {name[:1_000]}")
                    raise

        signature = inspect.signature(test)
        rest = [p for name, p in signature.parameters.items() if name not in taken]
        looped.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return looped

    return looped_over
