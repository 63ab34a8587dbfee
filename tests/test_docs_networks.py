"""docs/networks.md says what the code does: its table, its refusals, the network that it shows."""

import re

import pytest
import torch

from benchmark.planning.experiment import ExperimentError
from benchmark.planning.networks import check_network
from benchmark.records.protocol import Training
from docs.update_networks import DOCS, PAGE, expected_page
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


@pytest.mark.parametrize(
    "method, network",
    [("mc_net", "dynunet"), ("mc_net_plus", "dynunet"), ("mc_net", "swin_unetr"), ("mc_net_plus", "swin_unetr"),
     ("urpc", "swin_unetr"), ("urpc", SHALLOW)],
)  # fmt: skip
def test_what_the_page_calls_refused_is_refused_and_said_on_the_methods_page(method, network):
    training = Training(network=network, patch=(32, 32), width=12)
    name = training.network.name
    with pytest.raises(ExperimentError, match=f"method {method} cannot use training.network: network {name} "):
        check_network(method, {}, training, classes=1, channels=1)
    assert f"`{name}`" in (DOCS / f"methods/{method}.md").read_text(encoding="utf-8")


def test_the_network_of_the_page_works(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "_NETWORKS", dict(networks._NETWORKS))
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "my_net" in block]
    (tmp_path / "my_net.py").write_text(code, encoding="utf-8")
    registry.load_plugin(tmp_path / "my_net.py")
    for size in ((8, 8), (8, 8, 8)):
        network = Backbone(width=2, channels=2, dimensions=len(size), network="my_net")()
        assert network(torch.zeros(1, 2, *size)).logits.shape == (1, 1, *size)
