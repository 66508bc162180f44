"""For mkdocstrings: shows the lists of names in docstrings ("name: what it is") as lists."""

import re
from typing import Any

from griffe import Extension, Object

ITEM = re.compile(r"^(\w+(?:\(\))?(?:, \w+(?:\(\))?)*): (?=\S)", re.MULTILINE)
# What the docstring parser knows by itself.
SECTION = re.compile(r"(Args|Raises|Returns|Yields|Attributes|Note|Example)s?:\n")
# A sentence with a colon, and what belongs to it below, indented.
BELOW = re.compile(r"(?s)([^\n]+:)\n((?:    .*(?:\n|$))+)$")


def with_lists(text: str) -> str:
    """Make a Markdown list of each paragraph whose first line names something."""
    paragraphs = text.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if SECTION.match(paragraph):
            continue
        if below := BELOW.fullmatch(paragraph):
            items = re.sub(r"\n {5,}", " ", below[2])
            paragraphs[number] = below[1] + "\n\n" + re.sub(r"(?m)^    ", "- ", items)
        elif ITEM.match(paragraph):
            items = ITEM.sub(lambda item: f"- **{item[1]}**: ", re.sub(r"\n +", " ", paragraph))
            paragraphs[number] = items
    return "\n\n".join(paragraphs)


class Lists(Extension):  # type: ignore[misc]
    """Applied by griffe to every object that it has read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = with_lists(obj.docstring.value)
