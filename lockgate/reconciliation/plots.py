"""The report's pictures as SVG text: no script, no network, colours from the page's style sheet.

Belongs here: geometry. Does not: which numbers are shown (`report`), colours (`report.html.j2`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

WIDTH, HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 26
_MOST_POINTS = 480  # twice as many as one tells apart at this width


@dataclass(frozen=True)
class Point:
    """One window: a number of each side, and how many differences of which cause it has."""

    at: datetime
    old: float
    new: float
    differences: int
    cause: str


def merged(points: Sequence[Point]) -> list[Point]:
    """At most `_MOST_POINTS` points: neighbours added up, the cause of the most differences kept."""
    size = -(-len(points) // _MOST_POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        Point(
            group[0].at,
            sum(p.old for p in group),
            sum(p.new for p in group),
            sum(p.differences for p in group),
            max(group, key=lambda p: p.differences).cause,
        )
        for group in groups
    ]


def timeline(points: Sequence[Point], what: str) -> str:
    """Old and new as two lines over time. Where they are level, one lies exactly on the other."""
    shown = merged(points)
    if not shown:
        return ""
    top = max(max(p.old, p.new) for p in shown) or 1.0
    bottom = min(0.0, min(min(p.old, p.new) for p in shown))
    x, y = _scale_x(len(shown)), _scale_y(bottom, top, HEIGHT)
    lines = "".join(
        f'<polyline class="{side}" points="{" ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))}"/>'
        + (
            "".join(f'<circle class="{side}" cx="{x(i):.1f}" cy="{y(v):.1f}" r="3"/>' for i, v in enumerate(values))
            if few
            else ""
        )
        for side, values in (("new", [p.new for p in shown]), ("old", [p.old for p in shown]))
        for few in (len(shown) <= 48,)
    )
    ticks = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{_short(v)}</text>'
        for v in _steps(bottom, top)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(what)} of both sides over time">'
        f"{ticks}{_times(shown, x, HEIGHT)}{lines}{_hover(shown, x, HEIGHT)}</svg>"
    )


def strip(points: Sequence[Point]) -> str:
    """Differences of each window as bars, coloured by cause; a thin line where there are none."""
    height = 84
    shown = merged(points)
    if not shown:
        return ""
    top = max(p.differences for p in shown) or 1
    x, y = _scale_x(len(shown)), _scale_y(0, top, height)
    wide = max(1.0, (WIDTH - _LEFT - _RIGHT) / len(shown) * 0.8)
    bars = "".join(
        f'<rect class="cause-{escape(p.cause)}" x="{x(i) - wide / 2:.1f}" y="{y(p.differences):.1f}" width="{wide:.1f}"'
        f' height="{y(0) - y(p.differences):.1f}">'
        f"<title>{p.at:%Y-%m-%d %H:%M} · {p.differences} × {escape(p.cause)}</title></rect>"
        for i, p in enumerate(shown)
        if p.differences
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="differences over time, by cause">'
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y(top) + 4:.1f}" text-anchor="end">{top}</text>'
        f"{bars}{_times(shown, x, height)}</svg>"
    )


def _scale_x(points: int) -> Callable[[float], float]:
    room = WIDTH - _LEFT - _RIGHT
    return lambda i: _LEFT + room * (i + 0.5) / points


def _scale_y(bottom: float, top: float, height: int) -> Callable[[float], float]:
    room = height - _TOP - _BOTTOM
    return lambda v: _TOP + room * (1 - (v - bottom) / ((top - bottom) or 1))


def _steps(bottom: float, top: float) -> list[float]:
    """Three round numbers at most, and zero."""
    raw = (top - bottom) / 3
    power = 10.0 ** (len(str(int(raw))) - 1) if raw >= 1 else 10.0 ** -(len(str(int(1 / raw))) if raw else 0)
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= raw), power)
    return [step * i for i in range(int(bottom // step), int(top // step) + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _times(points: Sequence[Point], x: Callable[[float], float], height: int) -> str:
    """Up to six times under the axis, with the day where it changes."""
    every = max(1, -(-len(points) // 6))
    labels, day = [], None
    for i in range(0, len(points), every):
        at = points[i].at
        form = "%H:%M" if at.date() == day else "%Y-%m-%d %H:%M"
        day = at.date()
        labels.append(
            f'<text class="tick" x="{x(i):.1f}" y="{height - 8}" text-anchor="middle">{at.strftime(form)}</text>'
        )
    return "".join(labels)


def _hover(points: Sequence[Point], x: Callable[[float], float], height: int) -> str:
    """Invisible columns that name the numbers under the pointer."""
    wide = (WIDTH - _LEFT - _RIGHT) / len(points)
    return "".join(
        f'<rect class="hover" x="{x(i) - wide / 2:.1f}" y="{_TOP}" width="{wide:.1f}" height="{height - _TOP - _BOTTOM}">'
        f"<title>{p.at:%Y-%m-%d %H:%M} · old {p.old:g} · new {p.new:g}</title></rect>"
        for i, p in enumerate(points)
    )
