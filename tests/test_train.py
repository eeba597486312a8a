"""Fine-tuning: forms are their weights, training is exact in the program, and it helps."""

# ruff: noqa: E402 - what follows needs PyTorch

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="fine-tuning is the optional extra 'train': no torch")

from bitwright import cli, training
from bitwright.commands import TRAINING
from bitwright.models import saved
from bitwright.models.activations import Quantize, Sign, Tanh
from bitwright.models.compress.ffn import Factorised
from bitwright.models.compress.lowrank import Factors
from bitwright.models.compress.method import Compressed, method
from bitwright.models.compress.problem import Gatherer
from bitwright.models.fixed import ProgramError
from bitwright.models.layers import (
    Add,
    ArgMax,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Relu,
)
from bitwright.models.lower import quantise
from bitwright.models.network import Network, Node
from bitwright.models.train import finetune as training_loop
from bitwright.models.train import straight
from bitwright.models.train.distil import hint, logits
from bitwright.models.train.finetune import (
    Options,
    finetune,
    model_of,
    reals_of,
    shifted,
    train,
)
from bitwright.models.train.form import form
from bitwright.models.train.held import parted
from bitwright.models.train.model import Signed
from bitwright.models.train.start import draft, scores_of
from bitwright.models.train.statistics import settle

METHODS = [
    "sign", "bwnh", "bwnh2", "bwnh3", "ternary", "int2", "int4", "ffn", "ffn:powers=True",
    "qcnn", "svd", "spatial", "tucker", "cp", "prune-fine", "prune-group", "prune-filter",
    "winograd",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def forms(name: str):
    rng = np.random.default_rng(3)
    real = rng.normal(size=(7, 24))
    real[3] = 0  # a dead filter has no scale
    gatherer = Gatherer(real, (2, 3))
    x = np.maximum(rng.normal(size=(200, 24)) + 0.3, 0)
    gatherer.add(x, x)
    weight = method(name).compress(gatherer.problem(), real)
    return weight, form(weight, real).double()


@pytest.mark.parametrize("name", METHODS)
def test_a_form_starts_at_its_weight_and_stays_exact(name):
    weight, trained = forms(name)
    assert np.allclose(trained().detach(), weight.dense(), atol=1e-12)
    assert trained.weight().bits == weight.bits
    assert np.allclose(trained.weight().dense(), weight.dense(), atol=1e-12)
    optimiser = torch.optim.Adam(trained.parameters(), 0.05)
    target = torch.from_numpy(np.random.default_rng(4).normal(size=(7, 24)))
    for _ in range(20):
        optimiser.zero_grad()
        loss = ((trained() - target) ** 2).sum()
        loss.backward()
        optimiser.step()
    assert all(bool((p.grad != 0).any()) for p in trained.parameters())
    assert loss < ((torch.from_numpy(weight.dense()) - target) ** 2).sum()
    found = trained.weight()
    assert type(found) is type(weight)
    assert np.allclose(trained().detach(), found.dense(), atol=1e-12)
    if isinstance(found, Compressed):
        assert found.grid.holds(found.weights)
        assert (found.weights != weight.weights).any()


def test_straight_through_gradients():
    x = torch.tensor([-2.0, -0.6, 0.0, 0.5, 1.2], requires_grad=True)
    for step, value, slope in (
        (straight.rounded, [-2, -1, 0, 1, 1], [1, 1, 1, 1, 1]),
        (straight.signs, [-1, -1, 1, 1, 1], [0, 1, 1, 1, 0]),
        (straight.ternary, [-1, -1, 0, 1, 1], [0, 1, 1, 1, 1]),
        (straight.activation_signs, [-1, -1, 1, 1, 1], [0, 0.8, 2, 1, 0]),
    ):
        (gradient,) = torch.autograd.grad(step(x).sum(), x)
        assert step(x).tolist() == value
        assert torch.allclose(gradient, torch.tensor(slope, dtype=torch.float32))


def test_the_gradient_of_a_step_is_that_of_lsq():
    _, one = forms("int2")
    step, latent = one.integers.step, one.integers.unit * one.integers.latent
    (gradient,) = torch.autograd.grad(one().sum(), step.log)
    share = (latent / step()).detach()
    inside = torch.floor(share + 0.5) - share
    wanted = torch.where(share <= -2, -2.0, torch.where(share >= 1, 1.0, inside))
    assert torch.allclose(gradient, (step() * wanted.sum(1, keepdim=True)).detach())


def network(rng: np.random.Generator, *, norms: bool = False) -> Network:
    """Branches, pools, a depthwise layer, and batch norms that are folded or not."""

    def conv(n: int, size: int, c: int) -> Conv:
        return Conv(rng.normal(size=(n, size, size, c)) / size, rng.normal(size=n) / 4,
                    padding=(size // 2,) * 4)  # fmt: skip

    norm = BatchNorm(*np.abs(rng.normal(size=(4, 8))) + 0.5)
    nodes = [
        Node("stem", conv(8, 3, 1), ("input",)),
        *([Node("norm", norm, ("stem",))] if norms else []),
        Node("relu", Relu(), ("norm" if norms else "stem",)),
        Node("deep", DepthwiseConv(rng.normal(size=(8, 2, 2)), rng.normal(size=8)), ("relu",)),
        Node("float", MaxPool((2, 2), (1, 1)), ("relu",)),
        Node("point", conv(8, 1, 8), ("float",)),
        Node("sum", Add(), ("point", "deep")),
        Node("sum_relu", Relu(), ("sum",)),
        Node("both", Concatenate(), ("sum_relu", "float")),
        Node("mean", AveragePool((3, 3), (1, 1)), ("both",)),  # no ties of nine signs
        Node("wide", conv(6, 3, 16), ("mean",)),
        Node("wide_relu", Relu(), ("wide",)),
        Node("global", GlobalAveragePool(), ("wide_relu",)),
        Node("flat", Flatten(), ("global",)),
        Node("scores", Dense(rng.normal(size=(4, 6)), rng.normal(size=4)), ("flat",)),
    ]
    return Network("branched", (6, 6, 1), tuple(nodes), (0, 16))


def data(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Images brighter in every second row, in every second column, in a chequer, or nowhere."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, 4, count)
    x = rng.integers(0, 9, (count, 6, 6, 1))
    row, column = np.indices((6, 6)) % 2
    bright = np.stack([row, column, row ^ column, 0 * row])
    return x + 6 * bright[y][..., None], y


def off_ties(one):
    """The draft with other steps, so that no value lies half-way between two by its making."""
    rng = np.random.default_rng(5)
    nodes = [
        replace(node, layer=replace(node.layer, step=node.layer.step * rng.uniform(0.95, 1.05)))
        if isinstance(node.layer, Quantize)
        else node
        for node in one.network.nodes
    ]
    return replace(one, network=replace(one.network, nodes=tuple(nodes)))


def agree(one, x: np.ndarray, name: str = "int8") -> tuple[float, float, np.ndarray]:
    """How often rounded values and answers are the program's, and how far off each score is.

    Answers count where the best score is clear of the next by a fiftieth of the scores' spread; the
    last is in that spread.
    """
    program = one.program(x, name, None, {})
    values = program.run(x)
    with torch.no_grad():
        wanted = model_of(one)(torch.from_numpy(reals_of(one, x)))
    steps = {
        node.name: node.layer.step
        for node in one.network.nodes
        if isinstance(node.layer, Quantize | Sign)
    }
    same = [
        (values[label] == np.rint(wanted[label].numpy() / step)).mean()
        for label, step in steps.items()
    ]
    scores = wanted[scores_of(one.network)].numpy()
    found = program.output_border.real(program(x))
    clear = np.sort(scores, 1)[:, -1] - np.sort(scores, 1)[:, -2] > 0.02 * scores.std()
    answers = (found.argmax(1) == scores.argmax(1))[clear].mean()
    return min(same), answers, np.abs(found - scores) / scores.std()


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("name", ["bwnh", "ternary", "int4", "qcnn", "prune-fine"])
def test_the_program_computes_what_was_trained(name, bits):
    x, y = data()
    floats = network(np.random.default_rng(1), norms=bits == 3)
    first = off_ties(draft(floats, x, name, bits))
    trained = train(first, floats, x, y, Options(epochs=2, batch=32))
    for one in first, trained:
        same, answers, off = agree(one, x, name)
        # Thresholds are exact; a multiplier of 16 bits misses some values beside a tie.
        assert same >= (0.9 if bits == 8 else 1)
        assert answers == 1
        assert off.max() < (0.1 if bits == 8 else 0.001)


@pytest.mark.parametrize("name", ["ffn", "svd", "spatial", "tucker"])
def test_roundings_between_factors_cost_little_of_what_was_trained(name):
    """They are chosen after training: rounded values move by a step, and scores hardly."""
    x, y = data()
    floats = network(np.random.default_rng(1))
    first = off_ties(draft(floats, x, name, 8))
    trained = train(first, floats, x, y, Options(epochs=2, batch=32))
    for one in first, trained:
        same, answers, off = agree(one, x, name)
        assert same > 0.5
        # Scores that are each off by so much may turn an answer that is clear by twice as much.
        assert answers >= 0.97
        assert off.max() < 0.06
        assert np.sqrt((off**2).mean()) < 0.02
    weight = trained.weights["wide"]
    assert isinstance(weight, Factorised | Factors)
    doubled = {"scale": 2 * weight.scale} if isinstance(weight, Factorised) else {
        "scales": (2 * weight.scales[0], *weight.scales[1:])
    }  # fmt: skip
    program = replace(
        trained, weights={**trained.weights, "wide": replace(weight, **doubled)}
    ).program(x, name, None, {})
    with torch.no_grad():
        wanted = model_of(trained)(torch.from_numpy(reals_of(trained, x)))
    scores = wanted[scores_of(trained.network)].numpy()
    assert np.abs(program.output_border.real(program(x)) - scores).max() > 0.3 * scores.std()


def test_a_spoilt_weight_is_noticed():
    x, _ = data()
    first = draft(network(np.random.default_rng(1)), x, "int4", 3)
    weight = first.weights["wide"]
    changed = weight.weights.copy()
    changed[1, 70] = -changed[1, 70] or 3
    wrong = replace(weight, weights=changed)
    program = replace(first, weights={**first.weights, "wide": wrong}).program(x, "int4", None, {})
    with torch.no_grad():
        wanted = model_of(first)(torch.from_numpy(reals_of(first, x)))["wide_relu_rounded"].numpy()
    step = {node.name: node.layer for node in first.network.nodes}["wide_relu_rounded"].step
    assert (program.run(x)["wide_relu_rounded"] != np.rint(wanted / step)).mean() > 0.001


@pytest.mark.parametrize("name", ["bwnh", "int8", "ffn"])
def test_a_draft_starts_at_the_post_training_program(name):
    x, _ = data()
    floats = network(np.random.default_rng(1))
    one = draft(floats, x, name, 8).program(x, name, None, {})
    other = quantise(floats, x, name)
    found, wanted = (p.output_border.real(p(x)) for p in (one, other))
    assert np.abs(found - wanted).max() < 0.1 * wanted.std()
    assert one.metadata == other.metadata


@pytest.mark.parametrize("bits", [3, 8])
def test_a_value_that_is_rounded_and_folded_is_not_rounded_twice(bits):
    """A residual branch reads the rounded value, and the relu beside it the sums themselves."""
    rng = np.random.default_rng(3)
    nodes = (
        Node("stem", Conv(rng.normal(size=(4, 1, 1, 1)), rng.normal(size=4)), ("input",)),
        Node("relu", Relu(), ("stem",)),
        Node("deep", Conv(rng.normal(size=(4, 1, 1, 4)), rng.normal(size=4)), ("relu",)),
        Node("sum", Add(), ("deep", "stem")),
        Node("flat", Flatten(), ("sum",)),
        Node("scores", Dense(rng.normal(size=(4, 144)), rng.normal(size=4)), ("flat",)),
    )
    floats = Network("forked", (6, 6, 1), nodes, (0, 16))
    x, _ = data()
    one, other = draft(floats, x, "int8", bits), quantise(floats, x, "int8", bits)
    found = one.program(x, "int8", None, {})
    reals = [p.output_border.real(p(x)) for p in (found, other)]
    assert np.abs(reals[0] - reals[1]).max() < 0.01 * reals[1].std()
    (folded,) = (node for node in one.network.nodes if node.name == "relu")
    assert folded.inputs == ("stem_norm",)


def test_training_helps_and_repeats_itself(tmp_path):
    x, y = data(256)
    floats = network(np.random.default_rng(1))
    told: list[str] = []
    options = Options(epochs=6, batch=16, rate=1e-2, teacher=0.0, seed=4)
    trained = training.finetune(floats, x, y, "bwnh", 4, options=options, progress=told.append)
    before = quantise(floats, x, "bwnh", 4)
    accuracy = [(p(x).argmax(1) == y).mean() for p in (before, trained)]
    assert accuracy[1] > accuracy[0] + 0.2
    assert trained.metadata["training_accuracy"] == accuracy[1]
    assert told[-1].startswith("epoch 6 of 6: loss ")
    again = finetune(floats, x, y, "bwnh", 4, options)
    other = finetune(floats, x, y, "bwnh", 4, replace(options, seed=5))
    assert again.digest == trained.digest != other.digest
    saved.save(trained, tmp_path / "model.npz")
    assert np.array_equal(saved.load(tmp_path / "model.npz")(x), trained(x))


def test_the_command_line(tmp_path, capsys):
    x, y = data()
    network(np.random.default_rng(2)).save(tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    model = tmp_path / "model.npz"
    code = cli.main(
        ["finetune", str(tmp_path / "net.npz"), "--data", str(tmp_path / "x.npy"),
         "--labels", str(tmp_path / "y.npy"), "--weights", "int4", "--activations", "1",
         "--epochs", "1", "--rate", "0.004", "-o", str(model), "--json"]
    )  # fmt: skip
    found, told = json.loads(capsys.readouterr().out), saved.load(model).metadata
    assert (code, found["activations"], told["activation_bits"]) == (0, 1, 1)
    assert found["finetuning"] == told["finetuning"] == asdict(Options(epochs=1, rate=0.004))
    assert found["training_accuracy"] == (saved.load(model)(x).argmax(1) == y).mean()


@pytest.mark.parametrize("name", ["int8", "ffn", "cp"])
def test_frames_held_back_are_judged_by_the_program(name):
    """Also where it rounds between factors, of which training knows nothing."""
    x, y = data(200)
    floats = network(np.random.default_rng(1))
    for seed in range(2):
        options = Options(epochs=2, rate=1e-3, hold=0.25, seed=seed)
        own, held = parted(len(x), options.hold, seed)
        found = finetune(floats, x, y, name, 8, options)
        told = found.metadata["held"]
        start = draft(floats, x[own], name, 8).program(x[own], name, None, {})
        assert told["before"] == (start(x[held]).argmax(1) == y[held]).mean()
        if told["helped"]:
            assert told["after"] == (found(x[held]).argmax(1) == y[held]).mean()
    # Where nothing is trained there is nothing to judge, and all frames calibrate.
    found = finetune(floats, x, y, name, 8, Options(epochs=0, hold=0.25))
    assert "held" not in found.metadata
    assert found.digest == draft(floats, x, name, 8).program(x, name, None, {}).digest


def test_what_harms_held_frames_is_not_kept(tmp_path, capsys):
    x, y = data(200)
    floats = network(np.random.default_rng(1))
    # Training on wrong answers harms those that are held back, which have the network's own.
    options = Options(epochs=4, batch=16, rate=2e-2, teacher=0.0, hold=0.25, seed=3)
    own, held = parted(len(x), options.hold, options.seed)
    assert len(held) == 50
    assert sorted([*own, *held]) == list(range(200))
    right = quantise(floats, x[own], "int8", 8)(x).argmax(1)
    wrong = right.copy()
    wrong[own] = (right[own] + 1) % 4
    starts = [
        draft(floats, part, "int8", 8).program(part, "int8", None, {}) for part in (x[own], x)
    ]
    for labels, helped in ((wrong, False), (y, True)):
        found = finetune(floats, x, labels, "int8", 8, options)
        told = found.metadata["held"]
        assert (told["frames"], told["helped"]) == (50, helped)
        # What is kept instead is the start by all frames; what was judged, that by the others.
        assert (found.digest == starts[1].digest) is not helped
        judged = found if helped else starts[0]
        key = "after" if helped else "before"
        assert told[key] == (judged(x[held]).argmax(1) == labels[held]).mean()
    assert not finetune(floats, x, wrong, "int8", 1, options).metadata.keys() & {"held"}
    network(np.random.default_rng(1)).save(tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", wrong)
    code = cli.main(
        ["finetune", str(tmp_path / "net.npz"), "--data", str(tmp_path / "x.npy"),
         "--labels", str(tmp_path / "y.npy"), "--weights", "int8", "--epochs", "4", "--rate",
         "0.02", "--batch", "16", "--teacher", "0", "--hold", "0.25", "--seed", "3",
         "-o", str(tmp_path / "model.npz")]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0
    assert ": 100.00% of 50 inputs held back were right before, " in said
    assert said.endswith("what is saved is the start, from all inputs (another --rate may help)\n")


def test_no_epochs_change_nothing_and_a_largest_channel_is_no_score():
    x, y = data()
    floats = network(np.random.default_rng(2))
    best = replace(floats, nodes=(*floats.nodes, Node("best", ArgMax(), ("scores",))))
    trained = finetune(best, x, y, "int4", 4, Options(epochs=1))
    assert trained(x).shape == (96, 1)
    first = draft(floats, x, "int4", 4)
    same = train(first, floats, x, y, Options(epochs=0))
    assert same.program(x, "int4", None, {}).digest == first.program(x, "int4", None, {}).digest


def test_statistics_are_those_behind_the_compressed_layers():
    x, _ = data()
    first = draft(network(np.random.default_rng(1)), x, "bwnh", 8)
    model = model_of(first)
    reals = torch.from_numpy(reals_of(first, x))
    with torch.no_grad():
        model.parts["stem"].bias += 1
        model.parts["stem_norm"].gamma *= 2
    settle(model, reals)
    with torch.no_grad():
        values = model(reals)
    for name in ("stem", "deep", "point", "wide"):
        norm, rows = model.parts[f"{name}_norm"], values[name].flatten(0, -2)
        assert torch.allclose(norm.mean, rows.mean(0), atol=1e-9)
        assert torch.allclose(norm.variance, rows.var(0, correction=0), atol=1e-9)


def test_teachers_are_followed():
    scores = torch.tensor([[2.0, -1.0, 0.5]], requires_grad=True)
    same = logits(scores, scores.detach(), 4.0)
    assert float(same.detach()) == pytest.approx(0, abs=1e-6)
    wanted = torch.tensor([[0.0, 3.0, 0.0]])
    p, q = (torch.softmax(v.detach() / 4, -1) for v in (wanted, scores))
    assert float(logits(scores, wanted, 4.0).detach()) == pytest.approx(
        float(16 * (p * (p / q).log()).sum()), rel=1e-5
    )
    values = torch.randn(9, 3, 3, 2, generator=torch.Generator().manual_seed(0))
    assert float(hint(3 * values + 1, values)) < 1e-6 < float(hint(values.relu(), values))


def test_frames_are_shifted_by_whole_pixels():
    x = torch.arange(1.0, 41).reshape(1, 1, 40, 1).repeat(200, 1, 1, 1)
    rng = torch.Generator().manual_seed(0)
    moved = shifted(x, 2, rng)
    starts = {tuple(row[:3].ravel().tolist()) for row in moved[:, 0]}
    assert starts == {(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5)}
    square = shifted(torch.eye(5)[None, :, :, None].repeat(200, 1, 1, 1), 1, rng)
    assert {int(one.argmax()) for one in square[..., 0]} > {0, 1, 5}


def test_noise_turns_signs_near_0():
    x, _ = data()
    first = draft(network(np.random.default_rng(1)), x, "bwnh", 1)
    student, reals = model_of(first), torch.from_numpy(reals_of(first, x))
    quiet = student(reals)
    loud = []
    for seed in (0, 0, 1):
        with student.noisy(0.5, torch.Generator().manual_seed(seed)):
            loud.append(student(reals))
    name, before = next(
        (node.name, quiet[node.inputs[0]])
        for node in student.network.nodes
        if isinstance(node.layer, Sign)
    )
    turned = [(one[name] != quiet[name]).double() for one in loud]
    assert torch.equal(turned[0], turned[1])
    assert not torch.equal(turned[0], turned[2])
    # The nearer to 0, the more often.
    near = before.abs() < 0.25
    assert float(turned[0][near].mean()) > 0.3 > 0.15 > float(turned[0][~near].mean()) > 0
    assert torch.equal(student(reals)[name], quiet[name])


def test_training_is_disturbed_and_what_follows_it_is_not(monkeypatch):
    x, y = data()
    floats = network(np.random.default_rng(1))
    first = draft(floats, x, "bwnh", 1)
    loud = list[bool]()

    def settled(model, reals):
        loud.append(any(one.noise for one in model.parts.values() if isinstance(one, Signed)))
        settle(model, reals)

    monkeypatch.setattr(training_loop, "settle", settled)
    once, again, quiet = (
        train(first, floats, x, y, Options(epochs=2, noise=noise)).weights
        for noise in (0.5, 0.5, 0)
    )
    assert loud == [False] * 3
    for name, weight in once.items():
        assert np.array_equal(weight.dense(), again[name].dense())
    assert any((weight.dense() != quiet[name].dense()).any() for name, weight in once.items())


def test_the_command_line_takes_every_option():
    assert [item.name for item in fields(Options)] == list(TRAINING)
    for item in fields(Options):
        kind, text = TRAINING[item.name]
        assert kind.__name__ == item.type
        stated = text.partition("default: ")[2].rstrip(")")
        assert float(stated) == item.default


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {"y": np.zeros(3, int)},
            "labels are one whole number per input, of shape (96,), not int64 (3,)",
        ),
        (
            {"y": np.full(96, 4)},
            "labels are classes from 0 to 3, and these span 4..4; give those of this network",
        ),
        (
            {"options": Options(epochs=1, noise=0.5)},
            "noise stands in front of activations of 1 bit, and these have 8; leave the noise at 0",
        ),
        (
            {"x": np.zeros((0, 6, 6, 1), int), "y": np.zeros(0, int)},
            "there is nothing to train on: the data hold 0 inputs",
        ),
        ({"activation_bits": 0}, "activations take 1 to 8 bits, not 0"),
    ],
)
def test_bad_data_is_refused(change, wanted):
    x, y = data()
    with pytest.raises(ProgramError) as caught:
        finetune(network(np.random.default_rng(0)), **{"x": x, "y": y, **change})
    assert str(caught.value) == wanted


def test_layers_that_training_does_not_know_are_refused():
    x, y = data()
    scores = Dense(np.ones((4, 144)), np.ones(4))
    for layer, wanted in (
        (
            Tanh(),
            (
                "layer 'n1': fine-tuning knows no Tanh; register one with "
                "bitwright.models.train.model.compute, or compress this network without fine-tuning"
            ),
        ),
        (
            Conv(np.ones((4, 1, 1, 2)), np.ones(4), groups=2),
            (
                "layer 'n1' has 2 groups, and fine-tuning takes convolutions of one group and "
                "depthwise ones; compress this network without fine-tuning"
            ),
        ),
    ):
        layers = [Conv(np.ones((4, 1, 1, 1)), np.ones(4)), layer, Flatten(), scores]
        names = ["input", *(f"n{n}" for n in range(4))]
        nodes = tuple(Node(*one, (i,)) for *one, i in zip(names[1:], layers, names, strict=False))
        with pytest.raises(ProgramError) as caught:
            finetune(Network("net", (6, 6, 1), nodes, (0, 16)), x, y, options=Options(epochs=1))
        assert str(caught.value) == wanted


@pytest.mark.parametrize("bits", [1, 8])
def test_what_diverges_is_said_in_its_epoch(bits):
    """Behind the first sign nothing of it is seen."""
    x, y = data()
    floats = network(np.random.default_rng(1))
    first = draft(floats, x, "bwnh", bits)
    stem, *others = first.network.nodes
    stem = replace(stem, layer=replace(stem.layer, bias=np.full_like(stem.layer.bias, 1e300)))
    first = replace(first, network=replace(first.network, nodes=(stem, *others)))
    with pytest.raises(ProgramError) as caught:
        train(first, floats, x, y, Options(epochs=2, batch=32))
    assert str(caught.value) == "training diverged in epoch 1, at a rate of 0.002; lower the rate"


def test_bad_options_are_refused():
    for option, wanted in (
        ({"teacher": 1.5}, "teacher as a number from 0 to 1, not 1.5"),
        ({"epochs": 1.5}, "epochs as a whole number from 0 to 1000000, not 1.5"),
    ):
        with pytest.raises(ProgramError) as caught:
            Options(**option)
        assert str(caught.value) == f"fine-tuning takes {wanted}"


def test_a_task_that_is_measured_anew_leaves_the_sections_of_others(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import bench_finetune as bench

    before = bench.PAGE.read_text()
    assert bench.page({}, before) == before
    title = bench.TASKS["binary"].title
    after = bench.page({title: f"## {title}\n\nnew\n"}, before)
    assert bench.sections_of(after) == {
        **bench.sections_of(before), title: f"## {title}\n\nnew\n"
    }  # fmt: skip
    with pytest.raises(SystemExit, match="sections of no task"):
        bench.page({}, before + "\n## Letters\n\n1 %\n")
