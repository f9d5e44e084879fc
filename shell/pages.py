"""The blocks of the pages in docs/ that a program writes:

    <!-- kind: words -->
    lines
    <!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def fill_blocks(page: str, kind: str, lines: Callable[[str], Iterable[str]]) -> str:
    """The page, the blocks of a kind filled anew: with what `lines` gives for their words, each ending a line."""
    block = re.compile(rf"(<!-- {kind}: ([^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: "".join([match[1], *(f"{line}\n" for line in lines(match[2])), match[3]]), page)
