"""The attributes of an ONNX node as Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from onnx import AttributeProto

from .graph import Attribute
from .limits import ATTRIBUTE_MAX, identifier, quote, refuse
from .tensors import decode

BESIDE = {"name", "type", "doc_string"}
"""Fields of an attribute that are not its value."""


def attributes(protos: Iterable[AttributeProto], node: str) -> dict[str, Attribute]:
    """The attributes by name; `node` is how messages call the node."""
    found: dict[str, Attribute] = {}
    for proto in protos:
        name = identifier(proto.name, f"the name of an attribute of {node}")
        if name in found:
            refuse(node, f"has two attributes {quote(name)}; keep one")
        found[name] = _attribute(proto, name, node)
    return found


def _attribute(proto: AttributeProto, name: str, node: str) -> Attribute:
    what = f"the attribute {quote(name)} of {node}"
    if proto.ref_attr_name:
        refuse(what, "refers to one of a function; inline it with onnx.inliner")
    if proto.type in GRAPHS:
        refuse(
            node,
            f"has a subgraph, {quote(name)}, and only straight graphs are understood; export the "
            "model without control flow",
        )
    if proto.type not in VALUES:
        kinds = {number: kind.lower() for kind, number in AttributeProto.AttributeType.items()}
        refuse(
            what,
            f"is of type {kinds[proto.type]}, and only numbers, texts and one tensor are "
            "understood; export the model again",
        )
    field, value = VALUES[proto.type]
    strangers = {item.name for item, _ in proto.ListFields()} - BESIDE - {field}
    if strangers:
        refuse(what, f"has values in {field!r} and {min(strangers)!r}; export the model again")
    return value(getattr(proto, field), what)


def _number(value: Any, what: str) -> Any:
    return value


def _text(value: bytes, what: str) -> str:
    _check_length(value, "bytes", what)
    try:
        return value.decode()
    except UnicodeDecodeError:
        refuse(what, f"is {quote(value)}, which is no UTF-8; export the model again")


def _numbers(values: Sequence[Any], what: str) -> tuple[Any, ...]:
    _check_length(values, "numbers", what)
    return tuple(values)


def _texts(values: Sequence[bytes], what: str) -> tuple[str, ...]:
    _check_length(values, "texts", what)
    return tuple(_text(value, what) for value in values)


def _check_length(values: Sequence[Any], kind: str, what: str) -> None:
    if len(values) > ATTRIBUTE_MAX:
        refuse(
            what,
            f"has {len(values)} {kind}, and at most {ATTRIBUTE_MAX} are allowed; store them as a "
            "tensor",
        )


GRAPHS = {AttributeProto.GRAPH, AttributeProto.GRAPHS}
VALUES: dict[int, tuple[str, Callable[[Any, str], Attribute]]] = {
    AttributeProto.FLOAT: ("f", _number),
    AttributeProto.INT: ("i", _number),
    AttributeProto.STRING: ("s", _text),
    AttributeProto.TENSOR: ("t", decode),
    AttributeProto.FLOATS: ("floats", _numbers),
    AttributeProto.INTS: ("ints", _numbers),
    AttributeProto.STRINGS: ("strings", _texts),
}
"""For each type that is understood, the field with its value and what becomes of it."""
