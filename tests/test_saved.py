"""A saved program is the same program, or one sentence that says why it is refused."""

import json
import zipfile

import numpy as np
import pytest
from programs import (
    binary_convolution,
    chain,
    every_operator,
    frames,
    table_operators,
    tile_operators,
)

from bitwright.models import container
from bitwright.models.fixed import BINARY, ProgramError
from bitwright.models.ops import Window
from bitwright.models.program import Edge
from bitwright.models.saved import KIND, VERSION, load, save


@pytest.mark.parametrize(
    "program",
    [binary_convolution(), every_operator(), table_operators(), tile_operators()],
    ids=lambda p: p.name,
)
def test_a_program_comes_back_as_it_was(program, tmp_path):
    save(program, tmp_path / "p.npz")
    back = load(tmp_path / "p.npz")
    assert back.digest == program.digest
    assert [str(edge) for edge in back.edges.values()] == [str(e) for e in program.edges.values()]
    x = frames(program, 3)
    np.testing.assert_array_equal(back(x), program(x))


def test_a_file_of_before_a_field_was_added_means_what_it_meant(tmp_path):
    """`Window.repeat` came later: it is not written where it is as before, and read as that."""
    program, pixel = binary_convolution(), Edge.of((2, 2, 1), BINARY)
    repeating = chain("repeating", pixel, Window((1, 1), repeat=(2, 3)))
    for made, saved in ((program, False), (repeating, True)):
        save(made, tmp_path / "p.npz")
        document, _ = container.load(tmp_path / "p.npz", KIND, {VERSION})
        assert ("repeat" in document["nodes"][0]["fields"]) == saved
        assert load(tmp_path / "p.npz").digest == made.digest


def test_the_same_program_gives_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save(every_operator(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_the_arrays_without_pickle(tmp_path):
    save(binary_convolution(), tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as arrays:
        assert arrays["node1.weights"].shape == (8, 36)


def rewritten(tmp_path, change):
    """A saved program whose document was changed."""
    path = tmp_path / "p.npz"
    save(binary_convolution(), path)
    document, arrays = container.load(path, KIND, {VERSION})
    document = json.loads(json.dumps(document))
    arrays = dict(arrays)
    change(document, arrays)
    container.save(path, KIND, VERSION, document, arrays)
    return path


CHANGES = {
    "is of the unknown operator 'os.system'": lambda d, a: d["nodes"][0].update(op="os.system"),
    "node 'window0': Window kernel has 2 integers from 1 to 65536": lambda d, a: d["nodes"][0][
        "fields"
    ].update(kernel=[3]),
    "the kernel of node 'window0' is a list of integers": lambda d, a: d["nodes"][0][
        "fields"
    ].update(kernel=["3", 3]),
    "node 'window0' lacks the field 'pad'": lambda d, a: d["nodes"][0]["fields"].pop("pad"),
    "node 'window0': Window repeat has 2 integers from 1 to 65536": lambda d, a: d["nodes"][0][
        "fields"
    ].update(repeat=[0, 1]),
    "node 'window0' lacks the field 'kernel'": lambda d, a: a.update(
        {"node0.kernel": np.array([d["nodes"][0]["fields"].pop("kernel")[0]] * 2)}
    ),
    "node 'dot1' lacks the field 'weights'": lambda d, a: a.pop("node1.weights"),
    "node 'dot1': Dot weights span -1..5": lambda d, a: a.update(
        {"node1.weights": np.where(np.arange(288).reshape(8, 36) == 0, 5, a["node1.weights"])}
    ),
    "node 'dot1' reads 'nowhere'": lambda d, a: d["nodes"][1].update(inputs=["nowhere"]),
    "two nodes are called 'dot1'": lambda d, a: d["nodes"][2].update(name="dot1"),
    "a shape has positive sizes": lambda d, a: d["input"].update(shape=[0, 6, 4]),
    "above the limit of": lambda d, a: d["input"].update(shape=[1 << 20, 1 << 20, 4]),
    "a name is a text of 1 to 256 characters": lambda d, a: d.update(name="x" * 257),
    "that can be printed, not": lambda d, a: d.update(name="\x1b[2J"),
    "scales at the input are positive": lambda d, a: d["borders"]["input"].update(scale=["-1/2"]),
    "ZeroDivisionError": lambda d, a: d["borders"]["input"].update(scale=["1/0"]),
    "the document is damaged (KeyError: 'nodes')": lambda d, a: d.pop("nodes"),
    "nodes is a list": lambda d, a: d.update(nodes={"0": {}}),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_a_damaged_document_is_refused_in_one_sentence(sentence, tmp_path):
    path = rewritten(tmp_path, CHANGES[sentence])
    with pytest.raises(ProgramError) as error:
        load(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_newer_version_is_refused_by_its_number(tmp_path):
    document, arrays = {"name": "p"}, {}
    container.save(tmp_path / "p.npz", KIND, VERSION + 1, document, arrays)
    with pytest.raises(ProgramError, match=f"version {VERSION + 1}"):
        load(tmp_path / "p.npz")


def test_flipped_bytes_are_refused_or_harmless(tmp_path):
    path = tmp_path / "p.npz"
    save(binary_convolution(), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            load(path)
        except ProgramError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert not any("\n" in sentence for sentence in refused)


def test_the_file_is_a_plain_zip(tmp_path):
    save(binary_convolution(), tmp_path / "p.npz")
    with zipfile.ZipFile(tmp_path / "p.npz") as archive:
        assert container.DOCUMENT in archive.namelist()
