"""Published programs that reproduce their inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, glyphs, loader

Code = tuple[Tensor, Tensor, Tensor]


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(256, 96), nn.ReLU())
        self.mu = nn.Linear(96, 8)
        self.logvar = nn.Linear(96, 8)
        self.dec = nn.Sequential(nn.Linear(8, 96), nn.ReLU(), nn.Linear(96, 256))

    def forward(self, x: Tensor) -> Code:
        h = self.enc(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.dec(z), mu, logvar


def symbols() -> Batches:
    x, _ = glyphs(640, 8, 16, 180, noise=0.03, shift=1)
    x = x.flatten(1)
    return loader((x, x.clone()), 40, 18)


def vae_loss_mean_sum(out: Code, target: Tensor) -> Tensor:
    recon, mu, logvar = out
    bce = F.binary_cross_entropy_with_logits(recon, target)
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def vae_loss_sum_sum(out: Code, target: Tensor) -> Tensor:
    recon, mu, logvar = out
    bce = F.binary_cross_entropy_with_logits(recon, target, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (bce + kld) / target.size(0)


@pair(
    "loss",
    why="KL summed over batch and latents while the reconstruction is the mean over pixels: "
    "the code collapses, every output is the mean image",
    source="symptom: PyTorch VAE 'all reconstructions look the same', answer: same reduction for both terms",
)
def vae_kl_sum(faulty: bool) -> Program:
    torch.manual_seed(18)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, symbols(), vae_loss_mean_sum if faulty else vae_loss_sum_sum, optimizer)


class ConvAE(nn.Module):
    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU()
        )
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(24, 12, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(12, 1, 2, stride=2)
        )
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        x = self.dec(self.enc(x))
        return torch.sigmoid(x) if self.sigmoid else x


def normalized_images() -> Batches:
    x, _ = glyphs(480, 12, 20, 220, noise=0.02)
    x = (x - x.mean()) / x.std()
    return loader((x, x.clone()), 24, 22)


@pair(
    "activation",
    "data",
    why="decoder ends in a sigmoid but the images were normalized to mean 0 and deviation 1: "
    "dark pixels cannot be reproduced",
    source="symptom: PyTorch forum autoencoder loss stuck after transforms.Normalize with sigmoid output",
)
def autoencoder_sigmoid_normalized(faulty: bool) -> Program:
    torch.manual_seed(22)
    model = ConvAE(sigmoid=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, normalized_images(), nn.MSELoss(), optimizer)


PAIRS: tuple[Pair, ...] = (vae_kl_sum, autoencoder_sigmoid_normalized)
