"""Lets mkdocstrings read the docstrings: what they write for Sphinx becomes Markdown.

``:func:`name``` becomes a link where the API pages have the name, and code where they do not. A
name that does not exist is a warning, which ``make docs`` takes for an error.
"""

import contextlib
import logging
import re
from collections.abc import Iterator

import griffe

log = logging.getLogger("mkdocs.docs_roles")
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")
LITERAL_BLOCK = re.compile(r" ?::$", re.MULTILINE)


def _inside(obj: griffe.Object) -> Iterator[griffe.Object]:
    yield obj
    for member in obj.members.values():
        if not member.is_alias:
            yield from _inside(member)


def _resolved(obj: griffe.Object, name: str, package: griffe.Module) -> str | None:
    """The path of what ``name`` means in the docstring of ``obj``; None if there is none."""
    holder = obj if obj.is_class else obj.parent
    if holder is not None and holder.is_class and name in holder.all_members:
        return f"{holder.path}.{name}"
    first, *rest = name.split(".")
    bases = holder.mro() if holder is not None and holder.is_class else []
    for scope in (obj, *bases):  # what a base class names, its heirs may name too
        with contextlib.suppress(griffe.NameResolutionError):
            name = ".".join([scope.resolve(first), *rest])
            break
    try:
        package[name.removeprefix(f"{package.name}.").split(".")]
    except (KeyError, griffe.AliasResolutionError):
        return None
    return name


class SphinxRoles(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        if pkg.name != "effebm_ext":
            return
        for obj in _inside(pkg):
            if obj.docstring is None:
                continue

            def link(role: re.Match[str], obj: griffe.Object = obj) -> str:
                name = role[1]
                path = _resolved(obj, name, pkg)
                if path is None:
                    log.warning(f"{obj.path}: its docstring names {name}, which does not exist")
                return f'<autoref optional identifier="{path}">`{name}`</autoref>'

            text = ROLE.sub(link, obj.docstring.value)
            obj.docstring.value = LITERAL_BLOCK.sub(":", text)
