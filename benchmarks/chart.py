"""The one chart, for the README: consume+ack as bars. Written by hand, so that it needs no plotting library."""

from __future__ import annotations

from xml.sax.saxutils import escape

from benchmarks.contenders.registry import CONTENDERS
from benchmarks.goals import OURS
from benchmarks.model import Outcome

_WIDTH, _LEFT, _RIGHT = 760, 250, 110
_TOP, _ROW, _BAR = 44, 30, 18
_BOTTOM = 14

# Colours follow the reader's scheme; GitHub shows an SVG of a README with its own style sheet.
_STYLE = """
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
    .title { font-weight: 600 }
    .bar { fill: #8c959f }
    .ours { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .bar { fill: #6e7681 }
      .ours { fill: #4493f8 }
    }
"""


def draw(outcome: Outcome) -> str:
    """An SVG of a case's first metric, the longest bar first; contenders without a median are left out."""
    metric = outcome.case.metrics[0]
    medians = {name: outcome.median(name, metric.name) for name in outcome.entries}
    bars = sorted(((value, name) for name, value in medians.items() if value), reverse=True)
    most = bars[0][0] if bars else 1.0
    title = escape(f"{outcome.case.title}: {metric.title}, one process (more is better)")
    rows = [_row(number, name, value, most) for number, (value, name) in enumerate(bars)]
    height = _TOP + _ROW * len(bars) + _BOTTOM
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">',
            f"  <style>{_STYLE}  </style>",
            f'  <text class="title" x="12" y="24">{title}</text>',
            *rows,
            "</svg>\n",
        ]
    )


def _row(number: int, name: str, value: float, most: float) -> str:
    top = _TOP + number * _ROW
    width = max(1.0, value / most * (_WIDTH - _LEFT - _RIGHT))
    base = top + _BAR - 5
    kind = "bar ours" if name == OURS else "bar"
    label = escape(CONTENDERS[name].label)
    return (
        f'  <text x="{_LEFT - 10}" y="{base}" text-anchor="end">{label}</text>\n'
        f'  <rect class="{kind}" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="3"/>\n'
        f'  <text x="{_LEFT + width + 8:.1f}" y="{base}">{value:,.0f}</text>'
    )
