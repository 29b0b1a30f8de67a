import pytest
import torch
from torch import nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.recurrent import RecurrentNet, StepBatchNorm, recurrent_net
from gainstage.seeding import preserved_rng


def made(**options):
    with preserved_rng(0):
        return RecurrentNet(**{"steps": 5, "width": 6, "inputs": 2, "activation": "tanh", **options}).double()


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_without_a_norm_it_is_torchs_rnn():
    net, twin = made(), nn.RNN(2, 6, batch_first=True).double()
    with torch.no_grad():
        twin.weight_hh_l0.copy_(net.recurrent.weight)
        twin.weight_ih_l0.copy_(net.fed.weight)
        twin.bias_hh_l0.zero_()
        twin.bias_ih_l0.zero_()
        net.recurrent.bias.zero_()
        x = noise(3, 10)
        torch.testing.assert_close(torch.stack(net.states(x), 1), twin(x.view(3, 5, 2))[0])


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_summed_inputs_are_normalized_at_every_step(norm):
    net = made(norm=norm, activation="relu", gain=3.0)
    seen = []
    net.activation.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].detach()))
    net(noise(4, 10))
    assert len(seen) == 5
    for summed in seen:
        dim = -1 if norm == "layer" else 0
        torch.testing.assert_close(summed.square().mean(dim), torch.ones_like(summed.mean(dim)), rtol=1e-3, atol=0)
        assert float(summed.mean(dim).abs().max()) < 1e-12


def test_batch_norm_has_statistics_for_each_step_and_the_last_ones_beyond():
    norm = StepBatchNorm(2, 3).double()
    x = noise(8, 3)
    norm(x, 0)
    assert norm.running_mean[0].any()
    assert not norm.running_mean[1].any()
    norm(10 * x, 1)
    norm.eval()
    torch.testing.assert_close(norm(x, 1), norm(x, 7))
    assert not torch.allclose(norm(x, 0), norm(x, 1))


def test_gain_one_keeps_a_state_without_inputs():
    with preserved_rng(0):
        net = RecurrentNet(1, 2000, activation="relu")
    h = torch.randn(2000, generator=torch.Generator().manual_seed(2))
    # He: E[relu(Wh)²] = ‖h‖²/n; its error is √(5/2000) for one sample
    ratio = net.recurrent(h).detach().relu().square().mean() / h.square().mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.2)


def test_names_that_there_are_not():
    with pytest.raises(UnknownNameError, match="norm must be a known one, got 'group'"):
        recurrent_net(norm="group")
    with pytest.raises(UnknownNameError, match="activation must be a known one, got 'sigmoid'"):
        recurrent_net(activation="sigmoid")
