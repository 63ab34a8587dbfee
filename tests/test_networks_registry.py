"""Networks by name: what experiments ask for, what plug-ins register, and what the plan refuses."""

import sys

import pytest
import torch
from helpers import tiny

from benchmark.contract.small_training import SmallTraining
from benchmark.planning.experiment import ExperimentError
from benchmark.records.protocol import Training
from methods.shared import registry
from methods.shared.networks import registry as networks
from methods.shared.networks.layers import convolution_format, normalisation
from methods.shared.networks.network import NetworkError

NETWORK = """
from torch import nn

from methods.shared.networks.network import whole
from methods.shared.networks.registry import register_network


@register_network("{name}")
def make(channels, dimensions, width, *, layers: int = 1):
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    parts = [convolution(channels if i == 0 else width, width, 3, padding=1) for i in range(layers)]
    return whole(nn.Sequential(*parts), channels=width, multiple=1)
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(NETWORK.format(name="my_net"))
    yield path
    networks.forget([module for module in sys.modules if "semiseg_plugin_my_net" in module])


def refusal(**changes):
    with pytest.raises((ExperimentError, NetworkError)) as caught:
        tiny.trials(tiny.experiment(**changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("vent", "unknown network 'vent', did you mean 'vnet'?"),
        ({"name": "vnet", "normalization": "batch"}, "did you mean 'normalisation'?"),
        ({"name": "vnet", "normalisation": "layer"}, "'normalisation': input should be 'batch', 'instance' or 'group'"),
        ({"name": "dynunet", "strides": [2, 2, 2]}, "strides of three levels or more, the first 1"),
        ({"name": "dynunet", "strides": [1, 2, [2, 2]]}, "must be one number, or 3 of them"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_in_one_line(network, words):
    assert words in refusal(training={"network": network})


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("mc_net", "dynunet", "method mc_net cannot use training.network: network dynunet has one decoder"),
        ("urpc", {"name": "dynunet", "strides": [1, 2, 2]}, "features of 2 decoder levels, and not of 4"),
        ("urpc", "swin_unetr", "features of 1 decoder level, and not of 4"),
    ],
)
def test_a_method_that_cannot_use_the_network_is_refused_by_name_of_both(name, network, words):
    training = {"network": network, "width": 12, "patch": [32, 16, 16]}
    assert words in refusal(methods=[name], baseline=None, training=training)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"augmentation": "acdc_2d"}}, "resizes whole slices: give training.patch two numbers"),
        ({"training": {"patch": [16, 16]}, "evaluation": {"stride": [17, 16]}}, "larger than training.patch"),
        ({"evaluation": {"stride": [16, 16]}}, "evaluation.stride has two numbers, and training.patch three"),
        ({"training": {"strong_intensity": {"gamma": 1.5}}}, "training.strong_intensity.gamma"),
        ({"training": {"weak_intensity": {"blur": [2, 1]}}}, "begins above its end"),
        ({"training": {"patch": [16]}}, "training.patch"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes, words):
    with pytest.raises(Exception) as caught:  # noqa: B017 - the experiment's model or the plan refuses
        tiny.trials(tiny.experiment(**changes))
    assert words in str(caught.value)


def test_defaults_leave_the_ids_of_trials_alone():
    default = tiny.one_trial("dtml")[0].id
    assert default == tiny.one_trial("dtml", training={"network": "vnet", "head": "sigmoid"})[0].id
    for changed in ({"head": "softmax"}, {"network": "resvnet"}, {"warm_up": 1}, {"accumulation": 2}):
        assert tiny.one_trial("dtml", training=changed)[0].id != default


def test_a_name_and_a_mapping_are_the_same_network():
    assert Training(network="unet_2d") == Training(network={"name": "unet_2d"})
    assert Training(network={"name": "vnet", "normalisation": "group"}).network.arguments == {"normalisation": "group"}


def test_a_plugin_registers_a_network_that_an_experiment_trains(plugin, tmp_path):
    assert registry.load_plugin(plugin) == []
    experiment = tiny.experiment(training={"network": {"name": "my_net", "layers": 2}}, plugins=[str(plugin)])
    trial = next(t for t in tiny.trials(experiment) if t.method == "vnet")
    assert trial.cell.network_file == str(plugin) and list(trial.numerics.network) == ["my_net.py"]
    results = tiny.new_results(tmp_path / "results")
    tiny.run(trial, results, experiment)
    record = results.read_record(trial.id)
    assert record.state == "done", record.reason
    assert record.numerics.network == trial.numerics.network


def test_a_changed_network_of_a_plugin_makes_records_stale(plugin):
    registry.load_plugin(plugin)
    before = tiny.one_trial("vnet", training={"network": "my_net"}, plugins=[str(plugin)])[0].numerics
    plugin.write_text(plugin.read_text().replace("padding=1", "padding='same'"))
    registry.load_plugin(plugin)
    assert tiny.one_trial("vnet", training={"network": "my_net"}, plugins=[str(plugin)])[0].numerics != before


def test_a_network_that_takes_other_arguments_is_refused(tmp_path):
    path = tmp_path / "bad_net.py"
    path.write_text(NETWORK.format(name="bad_net").replace("dimensions, width, *", "axes, width, *"))
    with pytest.raises(NetworkError, match="must take channels, dimensions and width"):
        registry.load_plugin(path)
    path.write_text(NETWORK.format(name="bad_net").replace("layers: int = 1", "layers"))
    with pytest.raises(NetworkError, match="'layers' of network 'bad_net' needs a type and a default"):
        registry.load_plugin(path)
    path.write_text(NETWORK.format(name="vnet"))
    with pytest.raises(NetworkError, match="'vnet' of .* is taken by"):
        registry.load_plugin(path)


def test_a_second_network_is_made_by_its_own_name():
    backbone = SmallTraining("vnet").method.backbone
    other = backbone("resvnet", {"normalisation": "instance"})
    assert other(torch.randn(2, 1, 32, 16, 16)).logits.shape == (2, 1, 32, 16, 16)


def test_the_encoder_of_the_resvnet_has_the_norm_that_is_asked_for_and_no_dropout():
    network = SmallTraining("vnet").method.backbone("resvnet", {"normalisation": "instance"}).train()
    images = torch.randn(2, 1, 32, 32, 32)
    assert not any(isinstance(layer, torch.nn.BatchNorm3d) for layer in network.modules())
    first, second = (network.encode(images)[-1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_instance_norm_predicts_a_single_value_and_is_not_trained_on_it(dimensions):
    norm, features = normalisation("instance", dimensions, 4), torch.randn(2, 4, *[1] * dimensions)
    assert not norm.eval()(features).any()
    with pytest.raises(ValueError, match="Expected more than 1 spatial element"):
        norm.train()(features)


def test_a_layer_cannot_take_the_place_of_the_head():
    with pytest.raises(AttributeError, match="give your layer another name"):
        SmallTraining("vnet").method.head = torch.nn.Conv3d(1, 1, 1)


def test_parameters_that_are_no_convolutions_keep_their_layout():
    plugin_method = SmallTraining("vnet").method
    plugin_method.bank = torch.nn.Parameter(torch.randn(2, 3, 4, 5))
    convolution_format(plugin_method)
    assert plugin_method.bank.is_contiguous()


@pytest.mark.parametrize("name", ["vnet", "mean_teacher"])
def test_accumulated_gradients_are_those_of_all_batches(name):
    """Two batches of which each is half a step weigh as their mean; a loss is logged as the mean of both."""
    one = SmallTraining(name, iterations=2, accumulation=2).run()
    assert [row["step"] for row in one.history()] == [0, 1]
    again = SmallTraining(name, iterations=2, accumulation=2).run(1)
    assert one.history()[0] == again.run(1).history()[0]
    plain = SmallTraining(name, iterations=2).run()
    assert plain.history()[0]["total"] != one.history()[0]["total"]


def test_clipping_bounds_the_step():
    small = SmallTraining("vnet", iterations=1, gradient_clipping=1e-6, weight_decay=0.0)
    before = {key: p.detach().clone() for key, p in small.method.named_parameters()}
    small.run()
    moved = torch.cat([(p - before[key]).flatten() for key, p in small.method.named_parameters()]).norm()
    assert 0 < moved <= 1.01 * 0.01 * 1e-6
