"""What a benchmark found, as a JSON file and back."""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from benchmarks.harness import Row

FORMAT = 1


@dataclasses.dataclass
class Report:
    """The rows of one benchmark with everything needed to judge them.

    `samples` in the rows are seconds, one for each round; `options` are those of the command.
    """

    benchmark: str
    machine: dict[str, Any]
    options: dict[str, Any]
    rows: list[Row] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    findings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def row(self, case: str, contender: str) -> Row | None:
        """The row of a contender in a case, if there is one."""
        for row in self.rows:
            if (row.case, row.contender) == (case, contender):
                return row
        return None

    def timed(self, case: str, contender: str) -> Row | None:
        """The same where there is a figure."""
        row = self.row(case, contender)
        return row if row is not None and row.timed else None

    def contenders(self) -> list[str]:
        """All contenders, in the order of their first rows."""
        return list(dict.fromkeys(row.contender for row in self.rows))

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        rows = []
        for row in self.rows:
            values = dataclasses.asdict(row)
            if row.timed:
                middle = row.spread
                values["milliseconds"] = {
                    "median": round(1e3 * middle.median, 6),
                    "quartiles": [round(1e3 * middle.low, 6), round(1e3 * middle.high, 6)],
                }
            rows.append(values)
        values = {"format": FORMAT, **dataclasses.asdict(self), "rows": rows}
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(values, indent=1) + "\n")
        os.replace(unfinished, path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            ValueError: there is no such file, or it is something else.
        """
        try:
            values = json.loads(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} can't be read: {error}") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"{path} is not a benchmark's report of format {FORMAT}")
        try:
            rows = [Row(**_fields(Row, row)) for row in values.pop("rows")]
            return cls(**_fields(cls, values), rows=rows)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is not a whole report: {error}") from error


def _fields(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


@dataclasses.dataclass(frozen=True)
class Change:
    """What became of one row since an older report; `ratio` is new over old."""

    case: str
    contender: str
    old: str
    new: str
    ratio: float | None = None
    clear: bool = False


def changes(old: Report, new: Report) -> list[Change]:
    """Compare two reports of the same benchmark row by row.

    Rows were not taken in the same rounds here, so a difference is clear only where the quartiles
    of the two do not overlap.
    """
    before = {(row.case, row.contender): row for row in old.rows}
    after = {(row.case, row.contender): row for row in new.rows}
    return [
        _change(key, before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])
    ]


def _change(key: tuple[str, str], old: Row | None, new: Row | None) -> Change:
    texts = _figure(old), _figure(new)
    if old is None or new is None or not (old.timed and new.timed):
        return Change(*key, *texts, clear=_figure(old) != _figure(new))
    before, after = old.spread, new.spread
    clear = before.high < after.low or after.high < before.low
    return Change(*key, *texts, ratio=after.median / before.median, clear=clear)


def _figure(row: Row | None) -> str:
    if row is None:
        return "not measured"
    return milliseconds(row.spread.median) if row.timed else row.status


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with three digits.

    >>> milliseconds(0.0123456), milliseconds(1.5), milliseconds(2.5e-6)
    ('12.3 ms', '1,500 ms', '0.0025 ms')
    """
    value = 1e3 * seconds
    if value >= 100:
        return f"{value:,.0f} ms"
    if value >= 10:
        return f"{value:.1f} ms"
    return f"{value:.2f} ms" if value >= 0.1 else f"{value:.2g} ms"


def problems(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    """(contender, what happened, cases) for the rows without a figure, alike ones together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.status != "ok":
            text = f"{row.status}: {row.message}"
            found.setdefault((row.contender, text), []).append(row.case)
    return [(contender, text, _few(cases)) for (contender, text), cases in found.items()]


def _few(names: list[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
