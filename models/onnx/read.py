"""Reading an ONNX file that anyone may have made: a plain graph, or one sentence that says why not.

Nothing of the file is trusted, and nothing but its bytes is opened.  Sizes are compared with limits
before memory is taken, tensors are decoded here, and onnx's own checker and shape inference, which
are C++ and reach further than this, never see the file.  What a node means is for others: here its
name, inputs, outputs and attributes are well formed, no more.  Constants may therefore still hold
NaN, infinities and -0.0.
"""

from __future__ import annotations

import heapq
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import (
    IR_VERSION,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    defs,
)

from ..fixed import ProgramError
from .attributes import attributes
from .graph import MICROSOFT, ONNX, QONNX, Graph, Node, Tensor
from .limits import (
    CONSTANT_BYTES_MAX,
    DAMAGED,
    FILE_BYTES_MAX,
    NODES_MAX,
    TENSORS_MAX,
    check_count,
    check_wire,
    identifier,
    quote,
    refuse,
    shape_of,
    text_of,
)
from .tensors import decode, dtype_of

OPSET_MIN, OPSET_MAX = 9, defs.onnx_opset_version()
IR_MIN = 3
DOMAINS = {
    "": ONNX,
    "ai.onnx": ONNX,
    "qonnx.custom_op.general": QONNX,
    "finn.custom_op.general": QONNX,
    "onnx.brevitas": QONNX,
    "com.microsoft": MICROSOFT,
}
"""What domains are called in files; a domain that is not here keeps its name."""
VERSION = 1
"""Of a domain that the file does not import: QONNX files of before 2022 leave theirs out."""

Constants = dict[str, NDArray[Any]]


def read(path: str | Path) -> Graph:
    """Read the graph of an ONNX file; raise a one-sentence `ProgramError` where it has none.

    Nodes that no output needs are left out, and so are constants that no node then reads.
    """
    path = Path(path)
    try:
        return parse(_bytes(path))
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


def parse(data: bytes) -> Graph:
    """Read the graph in the bytes of an ONNX file: the same bytes, the same graph."""
    check_wire(data)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        refuse("the model", DAMAGED.format(str(error) or "no message"))
    if not IR_MIN <= model.ir_version <= IR_VERSION:
        refuse(
            "the model",
            f"has IR version {model.ir_version}, and {IR_MIN} to {IR_VERSION} are understood; "
            "export it again",
        )
    if model.functions:
        name = quote(text_of(model.functions[0].name, "the name of a function"))
        refuse("the model", f"defines the function {name}; inline it with onnx.inliner")
    if model.training_info:
        refuse("the model", "holds training information; export it for inference")
    if not model.HasField("graph"):
        refuse("the model", DAMAGED.format("it holds no graph"))
    graph = _Reader(_versions(model)).graph(model.graph)
    return replace(graph, producer=text_of(model.producer_name, "the name of the producer"))


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= FILE_BYTES_MAX:
            with path.open("rb") as file:
                data = file.read(found.st_size)
        else:  # a pipe would wait for ever, and so would a device
            data = b""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        refuse("the file", f"cannot be read ({reason}); give the path of an ONNX file")
    except ValueError:  # a NUL in the path
        refuse("the file", "cannot be read (no valid path); give the path of an ONNX file")
    if not stat.S_ISREG(found.st_mode):
        refuse("the file", "is no regular file; give the path of an ONNX file")
    if found.st_size > FILE_BYTES_MAX:
        refuse(
            "the file",
            f"has {found.st_size} bytes, above the limit of {FILE_BYTES_MAX}; split the network",
        )
    if not data:
        refuse("the file", "is empty; export the model again")
    return data


def _versions(model: ModelProto) -> dict[str, int]:
    """The version of each imported domain, by the name in the file."""
    versions: dict[str, int] = {}
    for item in model.opset_import:
        name = _domain(item.domain, "the model")
        if versions.setdefault(name, item.version) != item.version:
            refuse(
                "the model",
                f"imports versions {versions[name]} and {item.version} of the domain "
                f"{quote(name)}; keep one",
            )
        if item.version < 1:
            refuse(
                "the model",
                f"imports version {item.version} of the domain {quote(name)}, and versions start "
                "at 1; export it again",
            )
    if ONNX not in versions:
        refuse("the model", "imports no version of the ONNX operators; export it again")
    if not OPSET_MIN <= versions[ONNX] <= OPSET_MAX:
        refuse(
            "the model",
            f"uses opset {versions[ONNX]}, and {OPSET_MIN} to {OPSET_MAX} are understood; convert "
            "it with onnx.version_converter",
        )
    return versions


def _domain(name: object, what: str) -> str:
    """The name of a domain as the file has it, but for ONNX's own, which has two names."""
    text = text_of(name, f"the name of a domain of {what}")
    if text in (QONNX, MICROSOFT):
        refuse(what, f"uses the domain {text!r}, which nobody defines; rename it")
    return ONNX if DOMAINS.get(text) == ONNX else text


class _Reader:
    """One graph being read: what has a name so far, and how many bytes the constants take."""

    def __init__(self, versions: Mapping[str, int]):
        self.versions = versions
        self.constants: Constants = {}
        self.types: dict[str, str] = {}
        self.bytes = 0
        self.makers: dict[str, str] = {}

    def graph(self, proto: GraphProto) -> Graph:
        check_count("nodes", len(proto.node), NODES_MAX)
        values = len(proto.initializer) + len(proto.input) + len(proto.output)
        check_count("tensors", values, TENSORS_MAX)
        if proto.sparse_initializer:
            refuse("the model", "holds a sparse initialiser; store it dense")
        for tensor in proto.initializer:
            name = self._named(tensor.name, "an initialiser")
            self._keep(name, decode(tensor, f"the initialiser {quote(name)}"))
            self._type(name, tensor)
        inputs = [_value(item, "input") for item in proto.input]
        inputs = [item for item in inputs if item.name not in self.constants]
        for item in inputs:
            self._named(item.name, "an input of the graph")
        made = [(item, self._node(item, name)) for item, name in _with_names(proto.node)]
        nodes = [node for item, node in made if not self._constant(node, item)]
        outputs = tuple(_value(item, "output") for item in proto.output)
        _check_outputs(outputs, self.makers)
        nodes, read = _used(_sorted(nodes, self.makers), [item.name for item in outputs])
        constants = {name: value for name, value in self.constants.items() if name in read}
        name = text_of(proto.name, "the name of the graph")
        types = {name: kind for name, kind in self.types.items() if name in constants}
        return Graph(name, tuple(inputs), outputs, tuple(nodes), constants, types)

    def _named(self, name: object, maker: str) -> str:
        """Enter a value's name, which only one maker may give."""
        text = text_of(name, f"the name of {maker}")
        if not text:
            refuse(maker, "has no name; give it one")
        if text in self.makers:
            refuse(
                f"the value {quote(text)}",
                f"is made twice, by {self.makers[text]} and by {maker}; rename one",
            )
        self.makers[text] = maker
        return text

    def _keep(self, name: str, array: NDArray[Any]) -> None:
        self.bytes += array.nbytes
        if self.bytes > CONSTANT_BYTES_MAX:
            refuse("the model", f"has more than {CONSTANT_BYTES_MAX} bytes of constants; split it")
        self.constants[name] = array

    def _node(self, proto: NodeProto, name: str) -> Node:
        op = identifier(proto.op_type, f"the operator of node {quote(name)}")
        what = f"node {quote(name)} ({op})"
        raw = _domain(proto.domain, what)
        inputs = tuple(text_of(item, f"an input of {what}") for item in proto.input)
        outputs = tuple(text_of(item, f"an output of {what}") for item in proto.output)
        if not any(outputs):
            refuse(what, "has no output; drop it")
        for output in filter(None, outputs):
            self._named(output, what)
        values = attributes(proto.attribute, what)
        domain, version = DOMAINS.get(raw, raw), self.versions.get(raw, VERSION)
        return Node(name, op, domain, version, inputs, outputs, values)

    def _type(self, name: str, tensor: TensorProto) -> None:
        """Note the type of a constant whose array is wider than what it holds."""
        dtype = dtype_of(tensor.data_type, f"the constant {quote(name)}")
        if dtype != self.constants[name].dtype.name:
            self.types[name] = dtype

    def _constant(self, node: Node, proto: NodeProto) -> bool:
        """Keep the value of a `Constant` node; False for other nodes."""
        if (node.op, node.domain) != ("Constant", ONNX):
            return False
        names = sorted(node.attributes)
        if len(names) != 1 or names[0] not in CONSTANTS:
            listed = ", ".join(map(quote, names[:4])) or "none"
            refuse(
                str(node),
                f"takes one attribute of {', '.join(CONSTANTS)}, not {listed}; store it as value",
            )
        if node.inputs or len(node.outputs) != 1:
            refuse(str(node), "has no input and one output; export the model again")
        value = node.attributes[names[0]]
        kind, dtype = CONSTANTS[names[0]]
        if not isinstance(value, kind):
            refuse(str(node), f"has the attribute {names[0]!r} of another type; store it as value")
        array = value if isinstance(value, np.ndarray) else np.array(value, dtype)
        array.setflags(write=False)
        self._keep(node.outputs[0], array)
        if isinstance(value, np.ndarray):
            self._type(node.outputs[0], proto.attribute[0].t)
        return True


CONSTANTS: dict[str, tuple[type, str]] = {
    "value": (np.ndarray, ""),
    "value_float": (float, "float32"),
    "value_floats": (tuple, "float32"),
    "value_int": (int, "int64"),
    "value_ints": (tuple, "int64"),
}
"""The attributes that a `Constant` may have, one of them, and what they are."""


def _value(proto: ValueInfoProto, role: str) -> Tensor:
    """An input or output of the graph."""
    name = text_of(proto.name, f"the name of an {role} of the graph")
    what = f"the {role} {quote(name)}"
    kind = proto.type.WhichOneof("value")
    if kind != "tensor_type":
        refuse(
            what,
            f"is of the kind {(kind or 'nothing').removesuffix('_type')}, and only tensors are "
            "understood; export the model again",
        )
    tensor = proto.type.tensor_type
    if not tensor.HasField("shape"):
        refuse(what, "has no shape; state it, with an open batch where needed")
    open_dims = [not dim.HasField("dim_value") for dim in tensor.shape.dim]
    sizes = shape_of((dim.dim_value for dim in tensor.shape.dim), what)
    shape = tuple(None if is_open else size for size, is_open in zip(sizes, open_dims, strict=True))
    return Tensor(name, dtype_of(tensor.elem_type, what), shape)


def _with_names(protos: Sequence[NodeProto]) -> Iterator[tuple[NodeProto, str]]:
    """Every node with a name that no other has: its own, or one made up, in the order of the file.

    A name that a file gives to several nodes stays with the first; made-up names avoid all given.
    """
    given = {proto.name for proto in protos}
    taken: set[str] = set()
    numbers: defaultdict[str, int] = defaultdict(int)
    for proto in protos:
        name = text_of(proto.name, "the name of a node")
        if not name or name in taken:
            base = name or identifier(proto.op_type, "the operator of a node")
            while not name or name in taken or name in given:
                numbers[base] += 1
                name = f"{base}_{numbers[base]}"
        taken.add(name)
        yield proto, name


def _check_outputs(outputs: Sequence[Tensor], makers: Mapping[str, str]) -> None:
    if not outputs:
        refuse("the graph", "has no output; name one")
    seen: set[str] = set()
    for output in outputs:
        if output.name not in makers:
            refuse(f"the output {quote(output.name)}", "is made by no node; rename it or drop it")
        if output.name in seen:
            refuse(f"the output {quote(output.name)}", "is listed twice; drop one")
        seen.add(output.name)


def _sorted(nodes: Sequence[Node], makers: Mapping[str, str]) -> list[Node]:
    """The nodes in an order of computation, the file's own where it is one."""
    makes = {output: number for number, node in enumerate(nodes) for output in node.outputs}
    readers: defaultdict[int, list[int]] = defaultdict(list)
    missing = [0] * len(nodes)
    for number, node in enumerate(nodes):
        for name in filter(None, node.inputs):
            if name not in makers:
                refuse(
                    str(node), f"reads {quote(name)}, which nothing makes; export the model again"
                )
            if name in makes:
                readers[makes[name]].append(number)
                missing[number] += 1
    ready = [number for number, count in enumerate(missing) if not count]
    order: list[Node] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(nodes[number])
        for reader in readers[number]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        refuse(
            str(_in_cycle(nodes, makes, missing)),
            "reads what it makes itself, through a cycle; cut it",
        )
    return order


def _in_cycle(nodes: Sequence[Node], makes: Mapping[str, int], missing: Sequence[int]) -> Node:
    """A node of a cycle: what waits for ever waits for something that waits, so walk backwards."""
    number = next(number for number, count in enumerate(missing) if count)
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        makers = (makes.get(name) for name in nodes[number].inputs)
        number = next(maker for maker in makers if maker is not None and missing[maker])
    return nodes[number]


def _used(nodes: Sequence[Node], wanted: Iterable[str]) -> tuple[list[Node], set[str]]:
    """The nodes that an output needs, in the same order, and the names that they and it read."""
    read = set(wanted)
    kept: list[Node] = []
    for node in reversed(nodes):
        if not read.isdisjoint(filter(None, node.outputs)):
            kept.append(node)
            read.update(node.inputs)
    return kept[::-1], read
