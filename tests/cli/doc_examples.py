"""The examples of README.md and of the manual pages, as the text has them."""

import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]


def readme_blocks(path=REPO / "README.md"):
    """Blocks of lines that begin with four spaces."""
    blocks, block = [], []
    for line in path.read_text().splitlines() + ["end"]:
        if line.startswith("    "):
            block.append(line[4:])
        elif line.strip() and block:
            blocks.append("\n".join(block).rstrip())
            block = []
        elif block:
            block.append("")
    return blocks


def man_blocks(path):
    """Displays (.Bd -literal, .Dl) of the section EXAMPLES; lines of .Dl in a row are one block."""
    section = re.search(r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", path.read_text(), re.M | re.S)
    if not section:
        return []
    blocks, block, inside, short = [], [], False, False
    for line in section.group(1).splitlines() + [""]:
        if short and not line.startswith(".Dl "):
            blocks.append("\n".join(block))
            block, short = [], False
        if line.startswith(".Bd -literal"):
            inside = True
        elif line == ".Ed":
            blocks.append("\n".join(block))
            block, inside = [], False
        elif line.startswith(".Dl "):
            block.append(line[4:])
            short = True
        elif inside:
            block.append(line)
    # roff's escapes, as far as examples use them.
    return [block.replace(r"\e", "\\").replace(r"\&", "") for block in blocks]


def all_blocks():
    """(where, block) of each."""
    out = [("README.md", block) for block in readme_blocks()]
    for page in sorted((REPO / "docs/man").glob("*.[0-9]")):
        out += [(page.name, block) for block in man_blocks(page)]
    return out
