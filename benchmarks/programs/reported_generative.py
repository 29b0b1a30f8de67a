"""Programs that make images: autoencoders and a discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.reported_data import drawn, split


def blobs(n: int, spots: int = 3) -> Tensor:
    """Grey images 0..1 with bright round spots on dark ground."""
    g = torch.arange(16).float()
    image = torch.zeros(n, 16, 16)
    for _ in range(spots):
        cx, cy, r = 2 + 12 * torch.rand(n, 1, 1), 2 + 12 * torch.rand(n, 1, 1), 1 + torch.rand(n, 1, 1)
        far = (g[None, None] - cx) ** 2 + (g[None, :, None] - cy) ** 2
        image = torch.maximum(image, torch.exp(-far / (2 * r**2)))
    return (image + 0.02 * torch.randn_like(image)).clamp(0, 1).unsqueeze(1)


def centred_blobs(n: int) -> tuple[Tensor]:
    return ((blobs(n) - 0.5) / 0.5,)


def single_blobs(n: int) -> tuple[Tensor]:
    return (blobs(n, spots=1),)


class ConvAE(nn.Module):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(384, 48),
        )
        self.fc = nn.Linear(48, 384)
        self.dec = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), last
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dec(self.fc(self.enc(x)).view(-1, 24, 4, 4))


@pair(
    "activation",
    "data",
    why="images normalised to [-1,1] but the decoder ends in Sigmoid: background -1 cannot be reached, "
    "loss stalls at a high floor",
    source="symptom: autoencoder loss stuck, grey reconstructions, Normalize(0.5, 0.5) with nn.Sigmoid() output",
)
def autoencoder_sigmoid_range(faulty: bool) -> Program:
    torch.manual_seed(111)
    (images,) = drawn(centred_blobs, 16 * 64, held_out=256)
    model = ConvAE(nn.Sigmoid() if faulty else nn.Tanh())
    batches = [(x, x.clone()) for (x,) in split(64, images)]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, batches, nn.MSELoss(), optimizer)


Encoded = tuple[Tensor, Tensor, Tensor]


class VAE(nn.Module):
    def __init__(self, pixels: int = 256) -> None:
        super().__init__()
        self.e1, self.mu, self.lv = nn.Linear(pixels, 128), nn.Linear(128, 12), nn.Linear(128, 12)
        self.d1, self.d2 = nn.Linear(12, 128), nn.Linear(128, pixels)

    def forward(self, x: Tensor) -> Encoded:
        h = F.relu(self.e1(x.flatten(1)))
        mu, lv = self.mu(h), self.lv(h)
        z = mu + torch.randn_like(mu) * (0.5 * lv).exp() if self.training else mu
        return self.d2(F.relu(self.d1(z))), mu, lv


def divergence(mu: Tensor, lv: Tensor) -> Tensor:
    return -0.5 * torch.sum(1 + lv - mu.pow(2) - lv.exp())


def elbo(out: Encoded, x: Tensor) -> Tensor:
    logit, mu, lv = out
    x = x.flatten(1)
    kl = divergence(mu, lv)
    return (F.binary_cross_entropy_with_logits(logit, x, reduction="sum") + kl) / x.shape[0]


def elbo_of_mean(out: Encoded, x: Tensor) -> Tensor:
    logit, mu, lv = out
    x = x.flatten(1)
    kl = divergence(mu, lv)
    return F.binary_cross_entropy_with_logits(logit, x) + kl


@pair(
    "loss",
    why="reconstruction term is a mean over pixels and batch, the KL term a sum: KL wins, posterior collapses, "
    "every reconstruction is the same mean image",
    source="symptom: VAE outputs the same blurry image for all inputs, KL goes to 0 at once (mean BCE + summed KLD)",
)
def vae_kl_sum_bce_mean(faulty: bool) -> Program:
    torch.manual_seed(112)
    (images,) = drawn(single_blobs, 20 * 64, held_out=256)
    model = VAE()
    batches = [(x, x.clone()) for (x,) in split(64, images)]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, batches, elbo_of_mean if faulty else elbo, optimizer)


def fakes(n: int) -> Tensor:
    """What an early generator gives: smooth noise of the right histogram."""
    z = F.interpolate(torch.randn(n, 1, 8, 8), size=16, mode="bilinear")
    return (z * 0.35 - 0.7).clamp(-1, 1)


def real_or_fake(n: int) -> tuple[Tensor, Tensor]:
    x = torch.cat([2 * blobs(n // 2) - 1, fakes(n // 2)])
    y = torch.cat([torch.ones(n // 2), torch.zeros(n // 2)])
    order = torch.randperm(n)
    return x[order], y[order]


class Discriminator(nn.Module):
    def __init__(self, sigmoid: bool, w: int = 12) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, w, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * w, 1, 4),
        )
        if sigmoid:
            self.main.append(nn.Sigmoid())
        self.main.apply(self.weights_init)

    @staticmethod
    def weights_init(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).view(-1)


@pair(
    "activation",
    "loss",
    why="discriminator keeps DCGAN's final Sigmoid while the loss became BCEWithLogitsLoss: sigmoid twice, "
    "D(x) never below 0.5, loss stalls near 0.5",
    source="symptom: DCGAN discriminator loss stuck around 0.5, BCELoss replaced by BCEWithLogitsLoss "
    "without removing the Sigmoid",
)
def discriminator_double_sigmoid(faulty: bool) -> Program:
    torch.manual_seed(134)
    x, y = drawn(real_or_fake, 16 * 32, held_out=300)
    model = Discriminator(sigmoid=faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999))
    return Program(model, split(32, x, y), nn.BCEWithLogitsLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (autoencoder_sigmoid_range, vae_kl_sum_bce_mean, discriminator_double_sigmoid)
