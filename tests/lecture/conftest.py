"""What the lecture's tests share: figures are looked at, as far as a program can."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

SMALLEST_TYPE = 8.5


@pytest.fixture(scope="session")
def legible():
    """A function that fails unless a figure's texts are inside it, apart, and large enough."""

    def check(figure: Figure) -> list[str]:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        boxes = []
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            box = text.get_window_extent(renderer)
            outside_axes = text.axes is not None and not text.axes.get_visible()
            if text.get_visible() and text.get_text().strip() and not outside_axes:
                # Tick labels beyond an axis' limits exist but are not drawn.
                if box.width == 0 or not _drawn(text, figure):
                    continue
                assert float(text.get_fontsize()) >= SMALLEST_TYPE, text.get_text()
                assert "$" not in text.get_text(), f"{text.get_text()!r} is drawn as it stands"
                boxes.append((text.get_text(), box))
        for words, box in boxes:
            assert box.x0 >= 0, words
            assert box.y0 >= 0, words
            assert box.x1 <= figure.bbox.x1, words
            assert box.y1 <= figure.bbox.y1, words
        for (first, one), (second, other) in itertools.combinations(boxes, 2):
            # Boxes leave room for the tallest letters: let them touch by a pixel.
            apart = one.padded(-1.0).overlaps(other.padded(-1.0))
            assert not apart, f"{first!r} and {second!r} overlap"
        return [words for words, _ in boxes]

    return check


def _drawn(text: Text, figure: Figure) -> bool:
    for axes in figure.axes:
        for axis, interval in (
            (axes.xaxis, axes.viewLim.intervalx),
            (axes.yaxis, axes.viewLim.intervaly),
        ):
            low, high = sorted(interval)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return axes.axison and low <= tick.get_loc() <= high
            if text in (axis.label, axis.offsetText):
                return axes.axison
    return True
