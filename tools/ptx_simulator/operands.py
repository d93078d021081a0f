"""Operands of PTX instructions, and the scopes in which registers are named."""

from __future__ import annotations

import re

from .syntax import Address, Immediate, Negated, Operand, Pair, Register, Special, Symbol, Vector

_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?$")
_ADDRESS = re.compile(r"\[\s*([\w$%.]+)\s*(?:\+\s*(-?\w+))?\s*\]$")
_OFFSET_SYMBOL = re.compile(r"([\w$]+)\s*\+\s*(-?\d+)$")


class Scopes:
    """Braces nest, and an inner scope may declare a name again: each becomes a name of its own."""

    def __init__(self) -> None:
        self._stack: list[dict[str, tuple[str, bool]]] = []
        self._count = 0

    @property
    def depth(self) -> int:
        return len(self._stack)

    def push(self) -> None:
        self._stack.append({})

    def pop(self) -> None:
        self._stack.pop()

    def declare(self, name: str, is_register: bool = False) -> str:
        unique = name
        if self.depth > 1:
            self._count += 1
            unique = f"{name}@{self._count}"
        self._stack[-1][name] = (unique, is_register)
        return unique

    def lookup(self, name: str) -> tuple[str, bool]:
        for scope in reversed(self._stack):
            if name in scope:
                return scope[name]
        return name, False

    def resolve(self, name: str) -> str:
        return self.lookup(name)[0]


def split_top_level(text: str) -> list[str]:
    """Splits at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "{[(":
            depth += 1
        elif character in "}])":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if text[start:].strip():
        parts.append(text[start:].strip())
    return parts


def parse_operand(text: str, scopes: Scopes) -> Operand:
    """Parses one operand; a ValueError names what is not understood."""
    if text[0] in "{(":
        return Vector(tuple(parse_operand(part, scopes) for part in split_top_level(text[1:-1])))
    if text[0] == "[":
        match = _ADDRESS.match(text)
        if match is None:
            raise ValueError(f"the address {text} is not supported")
        base = parse_operand(match[1], scopes)
        if not isinstance(base, Register | Symbol | Immediate):
            raise ValueError(f"the address {text} is not supported")
        return Address(base, int(match[2] or "0", 0))
    if text[0] == "!":
        return Negated(parse_operand(text[1:].strip(), scopes))
    if "|" in text:
        first, second = text.split("|")
        return Pair(parse_operand(first.strip(), scopes), parse_operand(second.strip(), scopes))
    if re.match(r"0[fF][0-9a-fA-F]{8}$", text):
        return Immediate(int(text[2:], 16), "f32")
    if re.match(r"0[dD][0-9a-fA-F]{16}$", text):
        return Immediate(int(text[2:], 16), "f64")
    if _INTEGER.match(text):
        return Immediate(int(text.rstrip("U"), 0), "int")
    name, is_register = scopes.lookup(text)
    if is_register:
        return Register(name)
    if text[0] == "%":
        return Special(text)
    if match := _OFFSET_SYMBOL.match(text):
        return Symbol(scopes.resolve(match[1]), int(match[2]))
    if re.match(r"[\w$]+$", text):
        return Symbol(name)
    raise ValueError(f"the operand {text} is not supported")
