"""The C declarations of actscope.h as ctypes, read from the header itself.

The header is the one definition of structures, constants and functions: nothing is written down twice here, and a field
that the library gains is there without a change. What is understood is the C that the header uses: enums, structures of
scalars, pointers, arrays and structures, one kind of function pointer, and prototypes. Sizes and offsets follow the C
compiler's rules through ctypes; a test compares every one of them with what a compiler says.
"""
from __future__ import annotations

import ctypes
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

SCALARS: Dict[str, Any] = {
    "char": ctypes.c_char, "int": ctypes.c_int, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t, "double": ctypes.c_double,
    "float": ctypes.c_float, "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16,
}


class Member(NamedTuple):
    """A member of a structure, or a parameter: its C type without `const`, pointers to it, and its array length."""

    name: str
    type: str
    pointers: int
    length: Optional[int]


class Header:
    """What one actscope.h declares."""

    def __init__(self, text: str) -> None:
        self.constants: Dict[str, int] = {}  # of enums and #defines
        self.strings: Dict[str, str] = {}
        self.enums: Dict[str, Dict[str, int]] = {}  # by type name
        self.structs: Dict[str, Any] = {}
        self.members: Dict[str, List[Member]] = {}  # of each structure
        self.callbacks: Dict[str, Any] = {}
        self.functions: Dict[str, Tuple[Any, List[Any]]] = {}  # result and parameters
        self.arrays: Dict[str, Any] = {}  # exported data
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
        self._defines(text)
        self._declarations(re.sub(r"^\s*#.*$", "", text, flags=re.M))

    def _defines(self, text: str) -> None:
        for name, value in re.findall(r'^#define\s+(\w+)\s+("[^"]*"|-?\d+)\s*$', text, flags=re.M):
            if value.startswith('"'):
                self.strings[name] = value[1:-1]
            else:
                self.constants[name] = int(value)

    def _declarations(self, text: str) -> None:
        text = text.replace('extern "C" {', "").replace("ACTSCOPE_API", " ")
        pattern = (r"(?:typedef\s+)?enum\s*(?P<enum>\w*)\s*\{(?P<values>[^}]*)\}[^;]*;"
                   r"|typedef\s+struct\s+(?P<struct>\w+)\s*\{(?P<members>[^}]*)\}\s*\w+\s*;"
                   r"|typedef\s+void\s*\(\*(?P<callback>\w+)\)\((?P<callargs>[^)]*)\)\s*;"
                   r"|typedef\s+struct\s+(?P<opaque>\w+)\s+\w+\s*;"
                   r"|extern\s+const\s+(?P<element>\w+)\s+(?P<array>\w+)\[(?P<extent>\w+)\]\s*;"
                   r"|(?P<result>(?:const\s+)?(?:struct\s+)?\w+)\s*(?P<stars>\**)\s*(?P<function>\w+)\((?P<args>[^)]*)\)\s*;")
        for m in re.finditer(pattern, text):
            if m["values"] is not None:
                self._enum(m["enum"], m["values"])
            elif m["struct"]:
                self._struct(m["struct"], m["members"])
            elif m["callback"]:
                arguments = [self._ctype(member) for member in self._parameters(m["callargs"])]
                self.callbacks[m["callback"]] = ctypes.CFUNCTYPE(None, *arguments)
            elif m["array"]:
                self.arrays[m["array"]] = SCALARS[m["element"]] * self._number(m["extent"])
            elif m["function"]:
                result = self._declarator(f"{m['result']} {m['stars']}result")
                void = result.type == "void" and not result.pointers
                self.functions[m["function"]] = (None if void else self._ctype(result),
                                                 [self._ctype(p) for p in self._parameters(m["args"])])

    def _number(self, text: str) -> int:
        return self.constants[text] if text in self.constants else int(text)

    def _enum(self, name: str, body: str) -> None:
        values, following = {}, 0
        for item in filter(None, (part.strip() for part in body.split(","))):
            label, _, value = (part.strip() for part in item.partition("="))
            following = int(value, 0) if value else following
            values[label] = following
            following += 1
        self.constants.update(values)
        if name:
            self.enums[name] = values

    def _declarator(self, text: str) -> Member:
        m = re.fullmatch(r"\s*((?:(?:const|struct|enum|unsigned|long)\s+)*\w+)\s*([*\s]*(?:const\b\s*)?[*\s]*)(\w+)\s*(?:\[(\w+)\])?\s*", text)
        if not m:
            raise ValueError(f"actscope.h: cannot read the declaration {text.strip()!r}")
        base = re.sub(r"\b(const|struct|enum)\b", "", m[1]).strip()
        return Member(m[3], base, m[2].count("*"), self._number(m[4]) if m[4] else None)

    def _parameters(self, text: str) -> List[Member]:
        return [] if text.strip() in ("", "void") else [self._declarator(part) for part in text.split(",")]

    def _struct(self, name: str, body: str) -> None:
        members: List[Member] = []
        for line in filter(None, (part.strip() for part in body.split(";"))):
            first, *rest = line.split(",")
            members.append(self._declarator(first))
            kind = re.match(r"(?:const\b\s*)?(?:struct\b\s*)?\w+", first)[0]  # type: ignore[index]
            members += [self._declarator(f"{kind} {part}") for part in rest]
        self.members[name] = members
        fields = [(member.name, self._ctype(member)) for member in members]
        self.structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})

    def _ctype(self, member: Member) -> Any:
        """The ctypes type; pointers to what is opaque here, and to void, are plain addresses."""
        if member.type == "char" and member.pointers == 1 and member.length is None:
            return ctypes.c_char_p
        known: Any = SCALARS.get(member.type) or self.structs.get(member.type) or self.callbacks.get(member.type)
        if member.type in self.enums:
            known = ctypes.c_int
        if known is None:
            if not member.pointers:
                raise ValueError(f"actscope.h: unknown type {member.type!r}")
            known, pointers = ctypes.c_void_p, member.pointers - 1
        else:
            pointers = member.pointers
        for _ in range(pointers):
            known = ctypes.POINTER(known)
        return known * member.length if member.length is not None else known
