"""The little XML that the IntellectMoney API speaks. Lives here: reading a bounded document, writing one. Not here: any element's meaning.

The reader is for hostile text: no document type, no entities but the five of XML and numeric ones, nothing external, and bounds
on bytes, depth and the number of elements, checked while parsing, so that nothing large is ever built. Text is UTF-8; the
encoding a document declares is not consulted, because some programs declare UTF-16 and send UTF-8. Attributes, comments and
processing instructions carry nothing here and are passed over; a namespace is cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from disburse.protocols.wire import Malformed, trim

MAX_BYTES = 65_536
MAX_ELEMENTS = 200

XmlContent = str | int | None | Sequence[tuple[str, "XmlContent"]]
"""What `write_xml` takes: text or a number, None for an empty element, or named children in order."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class XmlElement:
    """An element without its attributes. `text` is trimmed: white space at its ends is layout, not value. Masked when printed."""

    name: str
    text: str = field(default="", repr=False)
    children: list[XmlElement] = field(default_factory=list, repr=False)


def read_xml(raw: bytes, *, max_depth: int) -> XmlElement:
    """Read one document and return its root; `max_depth` 1 is a root without children.

    Raises Malformed for anything that is not well-formed UTF-8 XML, is larger, deeper or fuller than the bounds, declares a
    document type or an entity, or mixes text with elements.
    """
    if len(raw) > MAX_BYTES:
        raise Malformed("the XML is too large")
    collector = _Collector(max_depth)
    parser = DefusedXMLParser(target=collector, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        # Fed as text, so that the declared encoding cannot make the parser read other characters than we checked.
        parser.feed(raw.decode("utf-8-sig"))
        parser.close()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    except DefusedXmlException:
        raise Malformed("the XML declares a document type or an entity") from None
    except (ParseError, ValueError):
        raise Malformed("the body is not XML") from None
    if collector.root is None:
        raise Malformed("the body is not XML")
    return collector.root


def write_xml(root: str, content: XmlContent) -> bytes:
    """Write a document in UTF-8. Characters that XML cannot hold become `?`."""
    return ('<?xml version="1.0" encoding="utf-8"?>' + _written(root, content)).encode("utf-8")


def _written(name: str, content: XmlContent) -> str:
    if content is None:
        return f"<{name} />"
    if isinstance(content, str | int):
        return f"<{name}>{escape(_NOT_XML.sub('?', str(content)), {chr(13): '&#13;'})}</{name}>"
    return f"<{name}>{''.join(_written(child, inner) for child, inner in content)}</{name}>"


class _Collector:
    """What the parser reports to: builds the elements and stops at the first bound that is passed."""

    def __init__(self, max_depth: int) -> None:
        self.root: XmlElement | None = None
        self._max_depth = max_depth
        self._open: list[XmlElement] = []
        self._texts: list[list[str]] = []
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise Malformed("the XML has too many elements")
        if len(self._open) >= self._max_depth:
            raise Malformed("the XML is nested too deeply")
        element = XmlElement(tag.rpartition("}")[2])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def data(self, text: str) -> None:
        self._texts[-1].append(text)

    def end(self, tag: str) -> None:
        element = self._open.pop()
        element.text = trim("".join(self._texts.pop()))
        if element.children and element.text:
            raise Malformed("the XML mixes text with elements")

    def close(self) -> None:
        """Nothing is left to do; the parser asks for this method."""
