"""What `speed.py` has measured so far: a file that grows by a line with each run of a cell."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from _speed_rows import Figures


class Results:
    """
    The figures of each row and system, run by run.

    Args:
        head: What holds for all of them: ``where``, ``scale``, ``sources``, ``systems``.
    """

    def __init__(self, head: Mapping[str, Any]) -> None:
        self.head = head
        self._figures: defaultdict[tuple[str, str], dict[int, Figures]] = defaultdict(dict)

    def add(self, row: str, system: str, run: int, figures: Figures) -> None:
        """Take in what one run has shown."""
        self._figures[row, system][run] = figures

    def has(self, row: str, system: str, run: int) -> bool:
        """Say whether this has been measured."""
        return run in self._figures[row, system]

    @property
    def runs(self) -> int:
        """How often a cell was measured at most."""
        return max((len(each) for each in self._figures.values()), default=0)

    def each(self, row: str, system: str, name: str) -> list[float]:
        """List this figure, of all runs that have it."""
        found = self._figures.get((row, system), {}).values()
        return [value for figures in found if (value := figures.get(name)) is not None]

    def median(self, row: str, system: str, name: str) -> float | None:
        """Give the median; None if there is nothing."""
        found = self.each(row, system, name)
        return median(found) if found else None

    def most(self, row: str, system: str, name: str) -> float:
        """Give the largest; 0 if there is nothing."""
        return max(self.each(row, system, name), default=0)

    def beside(
        self,
        row: str,
        systems: tuple[str, str],
        name: str,
        compare: Callable[[float, float], float],
    ) -> float | None:
        """Compare two systems in each run, and give the median; None if no run has both."""
        one, other = (self._figures.get((row, system), {}) for system in systems)
        found = [
            compare(first, second)
            for run in sorted(one.keys() & other.keys())
            if (first := one[run].get(name)) is not None
            and (second := other[run].get(name)) is not None
        ]
        return median(found) if found else None


def load(path: Path) -> Results:
    """
    Read what *path* has; a line that was being written when the process was killed is left out.

    Raises:
        ValueError: If it is no such file.
    """
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    results = Results(json.loads(head))
    for line in lines:
        if line.endswith("\n"):
            cell = json.loads(line)
            results.add(cell["row"], cell["system"], cell["run"], cell["figures"])
    return results


def begin(path: Path, head: Mapping[str, Any]) -> Results:
    """
    Go on with *path*, or begin it.

    Raises:
        ValueError: If it was begun elsewhere, with something else, or is no such file.
    """
    if not path.exists():
        path.write_text(f"{json.dumps(head, ensure_ascii=False)}\n", encoding="utf-8")
        return Results(head)
    results = load(path)
    for name in head.keys() - {"where"}:
        if results.head.get(name) != head[name]:
            raise ValueError(f"{path} was begun with another {name}; name another file")
    # So that the next line does not continue one that was cut off.
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    return results
