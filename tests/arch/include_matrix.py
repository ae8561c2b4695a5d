#!/usr/bin/python3
"""Which folder may include which: the matrix of docs/architecture.md."""

import pathlib
import re

import tree

# Each folder may also include itself and COMMON. A folder below a listed one (engine/soft) has its own
# row; others (dev/uart) belong to their parent's.
COMMON = {"bhyve/abi", "base", "x86"}
MATRIX = {
    "base": set(),
    "x86": set(),
    "pmap": set(),
    "mem": {"pmap"},
    "bus": {"mem"},
    "host": set(),
    "intc": {"bus"},
    "timer": {"bus", "intc"},
    "dev": {"bus", "host", "mem", "intc"},
    "platform": {"bus", "mem"},
    "loader": {"mem", "pmap"},
    "engine": {"mem", "pmap"},
    "engine/soft": {"engine", "mem", "pmap"},
    "vmm": {"engine", "intc", "timer", "bus", "mem", "pmap"},
    "machine": {"pmap", "mem", "bus", "host", "intc", "timer", "dev", "platform", "loader", "engine",
                "engine/soft", "vmm", "bhyve"},
    "api": {"machine", "bhyve"},
    "tools": {"bhyve"},
}
# Only one header of the folder is open to the other.
NARROW = {("timer", "intc"): {"intc/pins.hpp"}, ("dev", "intc"): {"intc/pins.hpp", "intc/msi.hpp"},
          ("dev", "mem"): {"mem/hold.hpp"}}


def row_of(parts):
    """The row of MATRIX for a path below src/, and None when there is none."""
    for length in (2, 1):
        name = "/".join(parts[:length])
        if len(parts) > length and name in MATRIX:
            return name
    return None


def owner(path):
    """The row that a file of the tree obeys."""
    if path.parts[0] == "include":
        return "bhyve"
    if path.parts[0] == "tools":
        return "tools"
    return row_of(path.parts[1:])


def target(text):
    """The folder that an include of `text` reaches into; None for a file beside the includer."""
    parts = text.split("/")
    if len(parts) == 1:
        return None
    if parts[0] == "bhyve":
        return "bhyve/abi" if parts[1] == "abi" else "bhyve"
    return row_of(parts) or text


def allowed(source):
    if source == "bhyve":
        return {"bhyve", "bhyve/abi"}
    if source == "tools":
        return MATRIX["tools"] | {"tools", "bhyve/abi"}
    if source in ("base", "x86"):
        return {source, "base", "bhyve/abi"}
    return MATRIX[source] | COMMON | {source}


def check(root):
    for path in tree.code(root, "src", "tools", "include"):
        source = owner(path)
        if source is None:
            yield f"{path}: no row of the matrix is for this folder"
            continue
        for number, quoted, text in tree.includes(root, path):
            if not quoted and not text.startswith("bhyve/"):
                continue
            reached = target(text)
            if reached is None:
                if quoted and source != "tools":
                    yield f"{path}:{number}: include \"{text}\" by its path from src/"
            elif reached not in allowed(source):
                yield f"{path}:{number}: {source} may not include {text}"
            elif text not in NARROW.get((source, reached), {text}):
                yield f"{path}:{number}: {source} may not include {text}"


def check_document(root):
    """The table in docs/architecture.md says what MATRIX says."""
    text = tree.read(root, pathlib.Path("docs/architecture.md"))
    table = dict(re.findall(r"^    ([\w/]+): ([\w/ -]+)$", text, re.M))
    for name in sorted((MATRIX.keys() | table.keys()) - {"base", "x86"}):
        told = set(table.get(name, "").replace("-", "").split())
        if name not in table or name not in MATRIX or told != MATRIX[name]:
            yield f"docs/architecture.md: the row of {name} is not that of tests/arch/include_matrix.py"


def check_all(root):
    yield from check(root)
    yield from check_document(root)


if __name__ == "__main__":
    tree.main(check_all)
