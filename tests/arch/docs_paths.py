#!/usr/bin/python3
"""Every path that the documents name exists, and no file names a path of somebody's machine."""

import pathlib
import re

import tree

DOCUMENTS = ("README.md", "CHANGELOG.md", "docs")
TOP = "src|tools|include|tests|scripts|docs|bench|cmake"
NAMED = re.compile(rf"(?<![\w./-])((?:{TOP}|\.ci)/[\w./{{}},*-]*)")

# Spelled so that the pattern does not find itself.
MACHINE = re.compile(r"(?<![\w.}-])/" + r"(?:work|root|Users|home/\w+)/|\.\./" + r"shared\b")


def spellings(text):
    """The paths that `a/{b,c}/d` stands for."""
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    before, after = text[: match.start()], text[match.end() :]
    return [path for word in match[1].split(",") for path in spellings(before + word + after)]


def exists(root, path):
    path = path.rstrip(".,")
    return any(pathlib.Path(root).glob(path)) if "*" in path else pathlib.Path(root, path).exists()


def check_document(root, path):
    for number, line in enumerate(tree.read(root, path).splitlines(), 1):
        for named in NAMED.findall(line):
            for spelling in spellings(named):
                if not exists(root, spelling):
                    yield f"{path}:{number}: {spelling} does not exist"


def check_machine(root, path):
    for number, line in enumerate(tree.read(root, path).splitlines(), 1):
        if MACHINE.search(line):
            yield f"{path}:{number}: names a path of one machine"


def check(root):
    for name in DOCUMENTS:
        if not pathlib.Path(root, name).exists():
            yield f"{name} does not exist"
    for path in tree.files(root):
        if str(path) in DOCUMENTS or (path.parts[0] == "docs" and path.suffix == ".md"):
            yield from check_document(root, path)
        yield from check_machine(root, path)


if __name__ == "__main__":
    tree.main(check)
