"""What the checks of this folder share: which files there are, and how a check reports."""

import os
import pathlib
import re
import sys

CODE = {".cpp", ".hpp", ".S", ".h", ".c"}
SKIPPED = {"build", ".git", ".cache", "__pycache__"}  # made by tools, not part of the project
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def files(root, *folders):
    """The files of the project below `folders` (default: all), as sorted paths relative to `root`."""
    found = []
    for folder in folders or (".",):
        for path, below, names in os.walk(pathlib.Path(root, folder)):
            below[:] = [name for name in below if name not in SKIPPED]
            found += [pathlib.Path(path, name).relative_to(root) for name in names
                      if name not in SKIPPED]  # in a work tree .git is a file
    return sorted(found)


def code(root, *folders):
    return [path for path in files(root, *folders) if path.suffix in CODE]


def read(root, path):
    return pathlib.Path(root, path).read_text(encoding="utf-8", errors="replace")


def includes(root, path):
    """Yields (line number, quoted or not, the text) of each #include."""
    for number, line in enumerate(read(root, path).splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1] == '"', match[2]


def main(check):
    """Runs `check(root)`, which yields sentences, on the tree that the command line names."""
    complaints = list(check(pathlib.Path(sys.argv[1])))
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)
