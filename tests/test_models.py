"""Backbones, heads, decoder and freezing: shapes, exact parameter counts, gradients, and what freezing must do."""

import copy

import pytest
import torch
from torch import nn

from radnet.backbones import BACKBONES, build_backbone
from radnet.errors import UsageError
from radnet.freeze import freeze
from radnet.heads import LabelHeads, VNetDecoder, to_scores
from radnet.nets import build_net
from radnet.preact import PreActResNet3d
from radnet.resnet import ResNet3d

CLASSES = {"sequence": 5, "view": 3, "contrast": 2, "coverage": 9, "spacing": 1}
OPTIONS = {"preact": {"layers": (1, 1, 1, 1), "width": 2}} | {name: {"width": 2} for name in BACKBONES if "res" in name}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(name, **OPTIONS[name])


def test_paper_network_has_the_papers_counts_and_shapes():
    architecture = {"kind": "label", "backbone": "preact", "options": {}, "classes": CLASSES, "hidden": 1000}
    with torch.device("meta"):
        net = build_net(architecture)
        features = net.backbone(torch.empty(1, 1, 48, 192, 192))
    assert num_parameters(net.backbone) == 60_748_032
    assert num_parameters(net) == 62_817_052
    assert sum(b.numel() for name, b in net.named_buffers() if "running" in name) == 71_808
    assert [tuple(f.shape[1:]) for f in features] == [
        (64, 48, 96, 96),
        (256, 24, 48, 48),
        (512, 12, 24, 24),
        (1024, 6, 12, 12),
        (2048, 3, 6, 6),
    ]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert all(m.bias is not None for m in net.modules() if isinstance(m, nn.Conv3d))


def test_glorot_bounds_and_zero_biases():
    backbone = PreActResNet3d((1, 1), width=4)
    for conv in (m for m in backbone.modules() if isinstance(m, nn.Conv3d)):
        volume = conv.weight[0, 0].numel()
        bound = (6 / (volume * (conv.in_channels + conv.out_channels))) ** 0.5
        assert 0.7 * bound < conv.weight.abs().max() <= bound
        assert not conv.bias.any()


@pytest.mark.parametrize(("size", "before"), [(8, 2), (9, 3)])
def test_stem_pads_as_tensorflow_does(size, before):
    """A delta kernel samples the input: "same" puts 2 zeros before an even axis and 3 before an odd one."""
    backbone = PreActResNet3d((1,), width=1)
    with torch.no_grad():
        backbone.stem_conv.weight.zero_()
        backbone.stem_conv.weight[0, 0, 1, before, before] = 1
    x = torch.rand(1, 1, 4, size, size)
    seen = {}
    backbone.stem_conv.register_forward_hook(lambda module, args, output: seen.update(stem=output))
    backbone(x)
    assert torch.equal(seen["stem"], x[:, :, :, ::2, ::2])


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(16, 32, 32), (19, 45, 37)])
def test_features_follow_strides_and_channels(name, size):
    backbone = small(name).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 1, *size))
    assert [f.shape[1] for f in features] == list(backbone.channels)
    assert len(backbone.strides) == len(features)
    for feature, stride in zip(features, backbone.strides, strict=True):
        for got, n, s in zip(feature.shape[2:], size, stride, strict=True):
            assert n // s <= got <= -(-n // s)


@pytest.mark.parametrize("name", BACKBONES)
def test_groups_partition_the_parameters(name):
    backbone = small(name)
    grouped = [p for _, modules in backbone.groups() for m in modules for p in m.parameters()]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(backbone.parameters()))


@pytest.mark.parametrize(
    "backbone",
    [
        PreActResNet3d((1, 2, 1, 1), 2, in_channels=2),
        *(ResNet3d(depth, 2, 2, norm) for depth, norm in [(10, "batch"), (18, "group"), (50, "instance")]),
    ],
)
def test_gradients_reach_every_parameter(backbone):
    torch.manual_seed(0)
    heads = LabelHeads(backbone.channels[-1], CLASSES, hidden=64)
    decoder = VNetDecoder(backbone.channels, backbone.strides, 2, width=4)
    x = torch.rand(2, 2, 32, 64, 64)
    features = backbone(x)
    outputs = heads(features)
    logits = decoder(features, x.shape[2:])
    assert logits.shape == (2, 2, 32, 64, 64)
    loss = sum((output * torch.randn_like(output)).sum() for output in (*outputs.values(), logits))
    loss.backward()
    for part in (backbone, heads, decoder):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("depth", [10, 50])
def test_resnet_agrees_with_monai(depth):
    from monai.networks.nets import resnet as monai

    block, layers, e = ("basic", [1, 1, 1, 1], 1) if depth == 10 else ("bottleneck", [3, 4, 6, 3], 4)
    theirs = monai.ResNet(
        block,
        layers,
        [4, 8, 16, 32],
        n_input_channels=1,
        conv1_t_size=7,
        conv1_t_stride=(1, 2, 2),
        bias_downsample=False,
        feed_forward=False,
    ).eval()
    ours = ResNet3d(depth, width=4).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(1, 1, 17, 40, 33)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[-1].mean(dim=(2, 3, 4)), theirs(x))
    assert ours.channels[-1] == 32 * e


def test_heads_outputs_and_scores():
    heads = LabelHeads(6, CLASSES, hidden=None)
    outputs = heads([torch.rand(3, 6, 2, 2, 2)])
    assert {name: tuple(o.shape) for name, o in outputs.items()} == {
        "sequence": (3, 5),
        "view": (3, 3),
        "contrast": (3, 2),
        "coverage": (3, 9),
        "spacing": (3,),
    }
    scores = to_scores(outputs)
    assert scores["view"].sum(axis=1) == pytest.approx(1)
    assert scores["spacing"] == pytest.approx(outputs["spacing"].detach().exp().numpy())
    assert ((scores["coverage"] > 0.5) == (outputs["coverage"] > 0).numpy()).all()


def test_decoder_returns_to_odd_input_sizes_and_from_stride_one():
    decoder = VNetDecoder((3, 5), ((1, 1, 1), (2, 2, 2)), out_channels=4, width=2)
    assert decoder([torch.rand(1, 3, 5, 7, 9), torch.rand(1, 5, 3, 4, 5)], (5, 7, 9)).shape == (1, 4, 5, 7, 9)
    net = build_net(
        {"kind": "segmentation", "backbone": "preact", "options": OPTIONS["preact"], "out_channels": 2, "width": 2}
    )
    assert net(torch.rand(2, 1, 17, 33, 47)).shape == (2, 2, 17, 33, 47)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: build_backbone("vgg"), "preact, resnet10"),
        (lambda: build_backbone("resnet10", depth=18), "no option depth; it has width"),
        (lambda: build_backbone("preact", norm="batch"), "no option norm; it has layers"),
        (lambda: ResNet3d(11), "10, 18, 34, 50, 101"),
        (lambda: ResNet3d(10, norm="layer"), "batch, group, instance"),
        (lambda: LabelHeads(4, {"view": 3}, None), "sequence, view, contrast, coverage, spacing"),
        (lambda: VNetDecoder((1, 2), ((2, 2, 2), (1, 2, 2)), 2, 4), "growing stride"),
        (lambda: build_net({"kind": "gan"}), "label, segmentation"),
        (lambda: build_net({"kind": "label", "backbone": "preact"}), "'classes', 'hidden'"),
        (lambda: freeze(small("preact"), "block9"), "none, all or stem, block1, block2, block3, block4, tail"),
    ],
)
def test_refusals_list_what_there_is(call, says):
    with pytest.raises(UsageError) as caught:
        call()
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("none", []),
        ("block1", ["stem", "block1"]),
        ("block2", ["stem", "block1", "block2"]),
        ("all", ["stem", "block1", "block2", "block3", "block4", "tail"]),
    ],
)
def test_freeze_holds_exactly_its_groups_through_training(level, expected):
    """Two steps with weight decay after `train()`: frozen tensors keep every bit, all others move."""
    net = build_net(
        {"kind": "label", "backbone": "preact", "options": OPTIONS["preact"], "classes": CLASSES, "hidden": None}
    )
    assert freeze(net.backbone, level) == expected
    before = copy.deepcopy(net.backbone.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(2):
        net.train()
        optimizer.zero_grad()
        sum(output.square().sum() for output in net(torch.rand(2, 1, 16, 32, 64)).values()).backward()
        optimizer.step()
    prefixes = {"stem_conv": "stem", "stem_norm": "stem", "tail": "tail"} | {
        f"blocks.{k}": f"block{k + 1}" for k in range(4)
    }
    for key, tensor in net.backbone.state_dict().items():
        group = next(group for prefix, group in prefixes.items() if key.startswith(prefix))
        assert torch.equal(tensor, before[key]) == (group in expected), key


def test_frozen_norm_uses_running_statistics_in_training():
    backbone = small("resnet10")
    freeze(backbone, "stem")
    backbone.train()
    x = torch.rand(2, 1, 16, 32, 32)
    in_training = backbone(x)[0]
    torch.testing.assert_close(in_training, backbone.eval()(x)[0], rtol=0, atol=0)


def test_freeze_is_idempotent_and_undoes_itself():
    backbone = small("resnet18")
    freeze(backbone, "all")
    backbone.train()
    assert not any(m.training for _, modules in backbone.groups() for m in modules)
    assert freeze(backbone, "stem") == freeze(backbone, "stem") == ["stem"]
    assert [p.requires_grad for p in backbone.conv1.parameters()] == [False]
    assert all(p.requires_grad for p in backbone.layer1.parameters()) and backbone.layer1[0].bn1.training
    freeze(backbone, "none")
    assert all(p.requires_grad for p in backbone.parameters()) and all(m.training for m in backbone.modules())


def test_freeze_refuses_a_backbone_with_a_forgotten_module():
    backbone = small("preact")
    backbone.forgotten = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="each parameter exactly once"):
        freeze(backbone, "stem")
