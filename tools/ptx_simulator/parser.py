"""The parser, from PTX text to functions and variables."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .operands import Scopes, parse_operand, split_top_level
from .syntax import DTYPES, Function, Instruction, PtxError, Register, Variable

_LABEL = re.compile(r"([A-Za-z_$%][\w$]*)\s*:(?!:)\s*")
_LINE_DIRECTIVE = re.compile(r"\.(version|target|address_size|file|loc)\b[^\n]*")
_SECTION = re.compile(r"\.section\b[^{]*\{[^}]*\}")  # debug information
_VISIBLE = re.compile(r"\S")
_HEADER = re.compile(r"(?:\.(?:visible|weak|extern|common|noreturn)\s+)*\.(entry|func)\b")
_VARIABLE = re.compile(
    r"(?:\.(?P<link>extern|visible|weak|common)\s+)?\.(?P<space>param|shared|local|global|const)\s+"
    r"(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+"
    r"(?:\.ptr\s+(?:\.(?:global|shared|const|local)\s+)?(?:\.align\s+\d+\s+)?)?"
    r"(?:\.align\s+\d+\s+)?(?P<name>[\w$]+)(?P<array>(?:\[\d*\])*)\s*(?:=\s*(?P<initial>.*))?$",
    re.S,
)
_INSTRUCTION = re.compile(
    r"(?:@(?P<not>!?)\s*(?P<pred>[%\w$]+)\s+)?(?P<op>[\w.:]+)\s*(?P<rest>.*)$", re.S
)


@dataclass
class ParsedModule:
    functions: dict[str, Function] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    externals: set[str] = field(default_factory=set)


def parse(text: str) -> ParsedModule:
    """Parses a whole PTX file. Unknown instructions pass here; they are reported at launch."""
    module = ParsedModule()
    function: Function | None = None
    scopes = Scopes()
    pending: Function | None = None
    for kind, statement, line in _statements(text):
        if kind == "open":
            if pending is not None:
                function, pending = pending, None
                scopes = Scopes()
            scopes.push()
        elif kind == "close":
            scopes.pop()
            if function is not None and scopes.depth == 0:
                module.functions[function.name] = function
                function = None
        elif kind == "header":
            header = _parse_header(statement, line)
            if statement.endswith(";"):
                module.externals.add(header.name)
            else:
                pending = header
        elif function is None:
            variable = _parse_variable(statement, line)
            if variable is not None:
                module.variables[variable.name] = variable
        elif kind == "label":
            function.labels[statement] = len(function.code)
        else:
            _parse_body_statement(function, scopes, statement, line)
    module.externals -= module.functions.keys()
    return module


def _statements(text: str) -> Iterator[tuple[str, str, int]]:
    """Yields (kind, text, line) with kind one of open, close, label, header, statement."""
    # Comments become blanks of the same length, so that positions still give line numbers.
    text = re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    newlines = [m.start() for m in re.finditer("\n", text)]
    position = 0
    while True:
        visible = _VISIBLE.search(text, position)
        if visible is None:
            return
        position = visible.start()
        line = bisect_right(newlines, position) + 1
        if text[position] in "{}":
            yield ("open" if text[position] == "{" else "close"), "", line
            position += 1
        elif directive := _LINE_DIRECTIVE.match(text, position) or _SECTION.match(text, position):
            position = directive.end()
        elif header := _HEADER.match(text, position):
            stop = re.compile(r"[;{]").search(text, header.end())
            if stop is None:
                raise PtxError(f"line {line}: a function without a body")
            # The semicolon stays, to mark a declaration; the brace opens the body.
            position = stop.end() if stop[0] == ";" else stop.start()
            yield "header", text[header.start() : position].strip(), line
        elif label := _LABEL.match(text, position):
            yield "label", label[1], line
            position = label.end()
        else:
            stop = re.compile(r'(?:[^;"]|"[^"]*")*;').match(text, position)
            if stop is None:
                raise PtxError(
                    f"line {line}: no semicolon after {text[position : position + 60]!r}"
                )
            yield "statement", " ".join(stop[0][:-1].split()), line
            position = stop.end()


def _parse_header(statement: str, line: int) -> Function:
    match = re.match(
        r".*?\.(entry|func)\s*(?:\((?P<returns>[^)]*)\)\s*)?(?P<name>[\w$]+)\s*"
        r"(?:\((?P<params>[^)]*)\))?(?P<rest>.*)$",
        statement,
        re.S,
    )
    if match is None:
        raise PtxError(f"line {line}: cannot parse the header {statement!r}")
    function = Function(match["name"], match[1] == "entry")
    for target, text in (
        (function.parameters, match["params"]),
        (function.returns, match["returns"]),
    ):
        for part in split_top_level(text or ""):
            if part.strip():
                variable = _parse_variable(part.strip(), line)
                if variable is not None:
                    target.append(variable)
    if cluster := re.search(r"\.reqnctapercluster\s+([\d\s,]+)", match["rest"]):
        for extent in cluster[1].split(","):
            function.cluster *= int(extent)
    return function


def _parse_variable(statement: str, line: int) -> Variable | None:
    match = _VARIABLE.match(statement)
    if match is None:
        if re.match(r"\.(pragma|alias|section|attribute)\b", statement):
            return None
        raise PtxError(f"line {line}: cannot parse the declaration {statement!r}")
    if match["type"] not in DTYPES:
        raise PtxError(f"line {line}: type .{match['type']} is not supported: {statement!r}")
    count: int | None = 1
    for extent in re.findall(r"\[(\d*)\]", match["array"]):
        count = count * int(extent) if extent and count is not None else None
    initial: tuple[str, ...] = ()
    if match["initial"]:
        initial = tuple(v.strip() for v in re.sub(r"[{}]", "", match["initial"]).split(","))
    align = int(match["align"] or DTYPES[match["type"]].itemsize)
    return Variable(match["space"], match["name"], match["type"], align, count, initial)


def _parse_body_statement(function: Function, scopes: Scopes, statement: str, line: int) -> None:
    if statement.startswith(".reg"):
        _declare_registers(function, scopes, statement, line)
    elif statement.startswith(".branchtargets"):
        # The label before this statement names the table.
        label = next(n for n, pc in reversed(function.labels.items()) if pc == len(function.code))
        del function.labels[label]
        targets = statement.removeprefix(".branchtargets").split(",")
        function.branch_tables[label] = [t.strip() for t in targets]
    elif re.match(r"\.(pragma|callprototype|alias|maxnreg)\b", statement):
        return
    elif statement.startswith("."):
        variable = _parse_variable(statement, line)
        if variable is not None:
            # Only names of inner scopes (a call's params) can repeat; shared ones keep theirs.
            name = scopes.declare(variable.name) if scopes.depth > 1 else variable.name
            function.variables.append(replace(variable, name=name))
    else:
        function.code.append(_parse_instruction(scopes, statement, line))


def _declare_registers(function: Function, scopes: Scopes, statement: str, line: int) -> None:
    match = re.match(r"\.reg\s+\.(\w+)\s+(.*)$", statement)
    if match is None or match[1] not in DTYPES:
        raise PtxError(f"line {line}: registers of this type are not supported: {statement!r}")
    for name in match[2].split(","):
        several = re.fullmatch(r"\s*([%\w$]+)<(\d+)>\s*", name)
        names = [f"{several[1]}{i}" for i in range(int(several[2]))] if several else [name.strip()]
        for register in names:
            function.registers[scopes.declare(register, is_register=True)] = match[1]


def _parse_instruction(scopes: Scopes, statement: str, line: int) -> Instruction:
    match = _INSTRUCTION.match(statement)
    if match is None:
        raise PtxError(f"line {line}: cannot parse {statement!r}")
    opcode, *modifiers = match["op"].split(".")
    try:
        operands = tuple(parse_operand(part, scopes) for part in split_top_level(match["rest"]))
    except ValueError as error:
        raise PtxError(f"line {line}: {error}: {statement}") from None
    predicate = Register(scopes.resolve(match["pred"])) if match["pred"] else None
    negated = match["not"] == "!"
    return Instruction(opcode, tuple(modifiers), operands, predicate, negated, line, statement)
