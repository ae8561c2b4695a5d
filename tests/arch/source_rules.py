#!/usr/bin/python3
"""Rules for source files: each .cpp includes its own header first; no file is longer than it may be."""

import pathlib

import tree

MAX_LINES = 1000
LONGER = set()  # tables and generated files that may have more lines

# Where a class or an interface is split over several .cpp files, those without a header of their own
# include the one that declares what they define: a header of the folder whose name begins theirs
# (vlapic_icr.cpp: vlapic.hpp), or one of these.
FAMILIES = {
    "src/api": ("bhyve/vm.hpp", "bhyve/own_vm.hpp", "api/control_protocol.hpp",
                "api/control_impl.hpp", "api/vmmapi_context.hpp"),
    "src/engine/soft/interp": ("engine/soft/interp/tables.hpp", "engine/soft/interp/alu_ops.hpp"),
    "src/engine/soft/replay": ("engine/soft/replay/replay.hpp", "engine/soft/replay/special.hpp"),
    "src/engine/soft/runtime": ("engine/soft/cpu.hpp",),
    "src/engine/soft/system": ("engine/soft/system/system.hpp", "engine/soft/system/cpu_model.hpp"),
    "src/machine": ("bhyve/config.hpp", "bhyve/devices.hpp", "bhyve/words.hpp",
                    "bhyve/capabilities.hpp", "bhyve/host_values.hpp"),
}


def family_headers(root, path):
    """The headers that a .cpp without one of its own may belong to."""
    words = path.stem.split("_")
    prefixes = [path.with_name("_".join(words[:n]) + ".hpp") for n in range(len(words) - 1, 0, -1)]
    named = [str(prefix.relative_to("src")) for prefix in prefixes
             if pathlib.Path(root, prefix).exists()]
    return (*named, *FAMILIES.get(str(path.parent), ()))


def check_header(root, path):
    found = [text for _, _, text in tree.includes(root, path)]
    header = path.with_suffix(".hpp")
    if pathlib.Path(root, header).exists():
        own = str(header.relative_to("src"))
        if not found or found[0] != own:
            yield f"{path}: include {own} first"
    elif not set(family_headers(root, path)) & set(found):
        yield f"{path}: has no header of its own and belongs to no family"


def check_size(root, path):
    lines = tree.read(root, path).count("\n")
    if lines > MAX_LINES and str(path) not in LONGER:
        yield f"{path}: {lines} lines; {MAX_LINES} are the most"


def check(root):
    for path in tree.code(root, "src"):
        if path.suffix == ".cpp":
            yield from check_header(root, path)
    for path in tree.code(root):
        yield from check_size(root, path)
    for path in tree.files(root):
        if path.suffix == ".py" or path.parts[0] == "scripts":
            yield from check_size(root, path)


if __name__ == "__main__":
    tree.main(check)
