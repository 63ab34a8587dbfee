"""docs/networks.md says what the code does: its table, its refusals, the network that it shows."""

import re

import pytest
import torch

from benchmark.planning.experiment import ExperimentError
from benchmark.planning.networks import check_network
from benchmark.records.protocol import Training
from docs.update_networks import PAGE, expected_page
from methods.shared import registry
from methods.shared.networks import registry as networks
from methods.shared.networks.backbone import Backbone

TEXT = PAGE.read_text(encoding="utf-8")
SHALLOW = {"name": "dynunet", "strides": [1, 2, 2, 2]}


def test_the_table_is_that_of_the_records():
    assert expected_page() == TEXT, "docs/networks.md is out of date: run `make docs`"


def test_every_network_is_listed():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT.partition("## Networks")[2].partition("## Slices")[0], re.M)
    assert sorted(rows) == [name for name in networks.network_names() if networks.network_plugin(name) == ""]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["dynunet", "swin_unetr", SHALLOW], ids=["dynunet", "swin_unetr", "shallow"])
def test_the_page_names_the_methods_that_the_plan_refuses(network):
    training = Training(network=network, patch=(32, 32), width=12)
    refused = set()
    for method in filter(registry.is_built_in, registry.names()):
        try:
            check_network(method, {}, training, classes=1, channels=1)
        except ExperimentError as error:
            assert f"cannot use training.network: network {training.network.name} " in str(error)
            refused.add(method)
    shallow = "( with fewer than five levels)?" if network is SHALLOW else ""
    rows = re.findall(rf"^\| (.+) \| `{training.network.name}`{shallow} \|", TEXT, re.M)
    assert refused == set(re.findall(r"\(methods/(\w+)\.md\)", str(rows)))


def test_the_network_of_the_page_works(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "_NETWORKS", dict(networks._NETWORKS))
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "my_net" in block]
    (tmp_path / "my_net.py").write_text(code, encoding="utf-8")
    registry.load_plugin(tmp_path / "my_net.py")
    for size in ((8, 8), (8, 8, 8)):
        network = Backbone(width=2, channels=2, dimensions=len(size), network="my_net")()
        assert network(torch.zeros(1, 2, *size)).logits.shape == (1, 1, *size)
