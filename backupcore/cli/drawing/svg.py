"""Pictures as SVG, with a rectangle for each bucket that tells its bytes when pointed at."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ElementTree, SubElement, indent, tostring

from backupcore.cli.drawing.shade import NO_BEFORE, Line, Shade, heading, lines, scale, totals
from backupcore.operation.picture import Picture
from backupcore.units import format_bytes

__all__ = ["picture_svg"]

_CELL = 10
_LABEL = 90
_TEXT_HEIGHT = 20
_MARGIN = 10
_WIDTH_MIN = 760  # for headings and legend
_STYLE = "text { font: 12px sans-serif; fill: #263238 } .label { text-anchor: end }"


def picture_svg(picture: Picture, before: Picture | None, columns: int) -> str:
    """Return both pictures, one below the other, and the legend as an SVG document.

    Source: Scalable Vector Graphics (SVG) 1.1, W3C 2011.
    """
    root = Element("svg", xmlns="http://www.w3.org/2000/svg")
    style = "".join(f" .{shade.name.lower()} {{ fill: {shade.colour} }}" for shade in Shade)
    SubElement(root, "style").text = _STYLE + style
    y = _draw(root, picture, columns, _MARGIN, title="backup")
    if before is None:
        y = _write(root, _MARGIN, y, NO_BEFORE)
    else:
        y = _draw(root, before, columns, y, title="before")
    y = _legend(root, y, scale(picture))
    width = max(_WIDTH_MIN, _LABEL + columns * _CELL + _MARGIN)
    root.set("viewBox", f"0 0 {width} {y}")
    root.set("width", str(width))
    root.set("height", str(y))
    indent(ElementTree(root))
    return tostring(root, encoding="unicode") + "\n"


def _draw(root: Element, picture: Picture, columns: int, y: int, *, title: str) -> int:
    """Add one picture below a height; return the height it ends at."""
    y = _write(root, _MARGIN, y, f"{title} {heading(picture)}")
    group = SubElement(root, "g", {"class": title})
    for line in lines(picture, columns):
        label = {"class": "label", "x": str(_LABEL - _CELL), "y": str(y + _CELL - 1)}
        SubElement(group, "text", label).text = format_bytes(line.offset)
        _draw_line(group, picture, line, y)
        y += _CELL
    return _write(root, _MARGIN, y, totals(picture)) + _TEXT_HEIGHT


def _draw_line(group: Element, picture: Picture, line: Line, y: int) -> None:
    for position, shade in enumerate(line.shades):
        if shade is Shade.BEYOND:
            continue
        rect = _rect(group, shade, _LABEL + position * _CELL, y)
        offset = int(picture.offsets[line.first + position])
        new, inherited, zero = picture.buckets[line.first + position].tolist()
        SubElement(
            rect, "title"
        ).text = f"at {offset}: {new} bytes new, {inherited} inherited, {zero} zeros"


def _legend(root: Element, y: int, scale_text: str) -> int:
    x, group = _MARGIN, SubElement(root, "g", {"class": "legend"})
    for shade in Shade:
        if shade.meaning:
            _rect(group, shade, x, y)
            _write(group, x + 2 * _CELL, y - _CELL // 2, shade.meaning)
            x += 3 * _CELL + 7 * len(shade.meaning)
    return _write(group, x, y - _CELL // 2, scale_text)


def _rect(parent: Element, shade: Shade, x: int, y: int) -> Element:
    side = str(_CELL - 1)
    place = {"x": str(x), "y": str(y), "width": side, "height": side}
    return SubElement(parent, "rect", {"class": shade.name.lower(), **place})


def _write(parent: Element, x: int, y: int, text: str) -> int:
    """Add a line of text below a height; return the height it ends at."""
    SubElement(parent, "text", {"x": str(x), "y": str(y + 14)}).text = text
    return y + _TEXT_HEIGHT
