"""Published programs that classify the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader, standardized


def spirals() -> Batches:
    g = generator(70)
    n = 900
    y = torch.arange(n) % 3
    r = 0.15 + 0.85 * torch.rand(n, generator=g)
    th = 3.2 * r + y * 2 * math.pi / 3 + 0.12 * torch.randn(n, generator=g)
    x = 1.7 * torch.stack([r * torch.cos(th), r * torch.sin(th)], 1)
    return loader((x, y), 50, 7)


@pair(
    "activation",
    why="Dense layers without activation collapse into one linear map: accuracy stays as with logistic regression",
    source="symptom: 'Keras Dense without activation does not learn non-linear data'",
)
def spirals_no_activation(faulty: bool) -> Program:
    torch.manual_seed(7)
    if faulty:
        model = nn.Sequential(nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 3))
    else:
        model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, spirals(), nn.CrossEntropyLoss(), optimizer)


def initialize(model: nn.Sequential, weights: Callable[[Tensor], Tensor]) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear):
            weights(layer.weight)
            nn.init.zeros_(layer.bias)


def wine() -> Batches:
    g = generator(110)
    n, d = 600, 13
    y = torch.arange(n) % 3
    centers = 0.9 * torch.randn(3, d, generator=g)
    x = centers[y] + torch.randn(n, d, generator=g)
    return loader((standardized(x), y), 30, 11)


@pair(
    "init",
    why="all weights initialised with zeros: no gradient reaches the hidden layers, loss stays at log(3)",
    source="symptom: kernel_initializer='zeros' / init zeros, accuracy constant",
)
def wine_zero_init(faulty: bool) -> Program:
    torch.manual_seed(11)
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    initialize(model, nn.init.zeros_ if faulty else nn.init.xavier_uniform_)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return Program(model, wine(), nn.CrossEntropyLoss(), optimizer)


def spectra() -> Batches:
    g = generator(120)
    n, d = 800, 128
    y = torch.arange(n) % 5
    grid = torch.linspace(0, 1, d)
    mu = torch.tensor([0.2, 0.35, 0.5, 0.65, 0.8])[y] + 0.03 * torch.randn(n, generator=g)
    x = torch.exp(-(((grid[None] - mu[:, None]) / 0.06) ** 2)) + 0.7 * torch.randn(n, d, generator=g)
    return loader((standardized(x), y), 40, 12)


@pair(
    "init",
    "activation",
    why="nn.init.normal_(w) with its default std=1: tanh units saturated, loss starts above 5 and falls slowly",
    source="symptom: tf.random_normal weights with stddev 1, huge first loss",
)
def spectra_normal_init(faulty: bool) -> Program:
    torch.manual_seed(12)
    model = nn.Sequential(
        nn.Linear(128, 128),
        nn.Tanh(),
        nn.Linear(128, 128),
        nn.Tanh(),
        nn.Linear(128, 64),
        nn.Tanh(),
        nn.Linear(64, 5),
    )
    initialize(model, nn.init.normal_ if faulty else nn.init.xavier_normal_)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    return Program(model, spectra(), nn.CrossEntropyLoss(), optimizer)


class SensorNet(nn.Module):
    def __init__(self, register: bool) -> None:
        super().__init__()
        self.inp = nn.Linear(12, 24)
        hidden = [nn.Linear(24, 24) for _ in range(5)]
        self.hidden = nn.ModuleList(hidden) if register else hidden
        self.out = nn.Linear(24, 4)
        for layer in [self.inp, *hidden]:
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.inp(x))
        for layer in self.hidden:
            x = F.leaky_relu(layer(x))
        return self.out(x)


def sensors() -> Batches:
    g = generator(130)
    n = 1000
    x = torch.randn(n, 12, generator=g)
    y = (x[:, 0] * x[:, 1] > 0).long() * 2 + (x[:, 2] + x[:, 3] ** 2 - 0.8 > 0).long()
    return loader((x, y), 50, 13)


@pair(
    "wiring",
    "optimizer",
    why="hidden layers kept in a Python list: not in model.parameters(), never trained, accuracy plateaus",
    source="symptom: PyTorch forum 'layers in a list are not registered', answer: nn.ModuleList",
)
def sensor_plain_list(faulty: bool) -> Program:
    torch.manual_seed(13)
    model = SensorNet(register=not faulty)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, sensors(), nn.CrossEntropyLoss(), optimizer)


def tags() -> Batches:
    g = generator(170)
    n, d, k = 720, 40, 6
    w = torch.randn(d, k, generator=g) / math.sqrt(d)
    x = torch.randn(n, d, generator=g)
    y = ((x @ w) + 0.3 * torch.tanh(x[:, :k]) > 0).float()
    return loader((x, y), 40, 17)


@pair(
    "activation",
    "loss",
    why="softmax output for labels that are not exclusive: the six probabilities share a sum of one, "
    "most true tags stay below 0.5",
    source="https://stackoverflow.com/questions/44164749",
)
def multilabel_softmax(faulty: bool) -> Program:
    torch.manual_seed(17)
    last = nn.Softmax(dim=1) if faulty else nn.Sigmoid()
    model = nn.Sequential(nn.Linear(40, 80), nn.ReLU(), nn.Linear(80, 6), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, tags(), nn.BCELoss(), optimizer)


def haberman(from_one: bool) -> Batches:
    g = generator(190)
    n = 600
    age = 30 + 53 * torch.rand(n, generator=g)
    year = torch.randint(58, 70, (n,), generator=g).float()
    nodes = torch.poisson(4 * torch.rand(n, generator=g) ** 2 * 4, generator=g)
    risk = 0.45 * (nodes - 5) + 0.05 * (age - 56) + 0.3 * torch.randn(n, generator=g)
    died = (risk > risk.median()).float()
    y = died + 1 if from_one else died
    return loader((standardized(torch.stack([age, year, nodes], 1)), y.unsqueeze(1)), 30, 19)


@pair(
    "data",
    "loss",
    why="class column holds 1 and 2, fed to binary cross-entropy as is: loss negative, "
    "everything predicted as one class",
    source="symptom: Haberman survival with binary_crossentropy, negative loss, answer: map labels to 0/1",
)
def haberman_labels_1_2(faulty: bool) -> Program:
    torch.manual_seed(19)
    model = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, haberman(from_one=faulty), nn.BCEWithLogitsLoss(), optimizer)


def titanic(filled: bool) -> Batches:
    g = generator(200)
    n = 640
    pclass = torch.randint(1, 4, (n,), generator=g).float()
    sex = torch.randint(0, 2, (n,), generator=g).float()
    age = (30 + 14 * torch.randn(n, generator=g)).clamp(1, 80)
    fare = torch.exp(4.5 - 0.9 * pclass + 0.5 * torch.randn(n, generator=g))
    score = 2.6 * sex - 0.9 * pclass - 0.04 * age + 0.01 * fare + 1.9 + 0.4 * torch.randn(n, generator=g)
    y = (score > 0).float().unsqueeze(1)
    age[torch.rand(n, generator=g) < 0.2] = float("nan")
    if filled:
        age = torch.where(torch.isnan(age), age.nanmedian(), age)
    age = (age - age.nanmean()) / 14.0
    x = torch.stack([pclass - 2, sex - 0.5, age, standardized(torch.log(fare))], 1)
    return loader((x, y), 32, 20)


@pair(
    "data",
    "precision",
    why="missing ages left as NaN in the table: loss is nan from the first batch",
    source="symptom: Titanic 'loss: nan' in Keras/PyTorch, answer: fillna / check inputs for NaN "
    "(https://stackoverflow.com/questions/33962226)",
)
def titanic_nan_age(faulty: bool) -> Program:
    torch.manual_seed(20)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return Program(model, titanic(filled=not faulty), nn.BCEWithLogitsLoss(), optimizer)


def deep_mlp(activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    d = 20
    for _ in range(5):
        layers += [nn.Linear(d, 40), activation()]
        d = 40
    return nn.Sequential(*layers, nn.Linear(40, 4))


def credit() -> Batches:
    g = generator(350)
    n = 800
    y = torch.arange(n) % 4
    centers = 0.8 * torch.randn(8, 20, generator=g)
    which = y + 4 * torch.randint(0, 2, (n,), generator=g)
    x = centers[which] + 0.8 * torch.randn(n, 20, generator=g)
    return loader((standardized(x), y), 40, 35)


@pair(
    "activation",
    "depth",
    why="five hidden layers with sigmoid: vanishing gradient, loss stays at log(4)",
    source="symptom: vanishing gradient case, answer: ReLU instead of sigmoid",
)
def credit_sigmoid_stack(faulty: bool) -> Program:
    torch.manual_seed(35)
    model = deep_mlp(nn.Sigmoid if faulty else nn.ReLU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Program(model, credit(), nn.CrossEntropyLoss(), optimizer)


def gestures(dtype: torch.dtype) -> Batches:
    g = generator(390)
    n, d = 640, 30
    y = torch.arange(n) % 5
    c = 1.2 * torch.randn(5, d, generator=g)
    x = standardized(c[y] + 1.5 * torch.randn(n, d, generator=g))
    return loader((x.to(dtype), y), 32, 39)


@pair(
    "precision",
    "optimizer",
    why="model.half() with Adam: squared gradients underflow and eps=1e-8 is 0 in fp16, "
    "weights become nan after the first step",
    source="https://discuss.pytorch.org/t/adam-half-precision-nans/1765",
)
def gesture_half_adam(faulty: bool) -> Program:
    torch.manual_seed(39)
    dtype = torch.float16 if faulty else torch.float32
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, gestures(dtype), nn.CrossEntropyLoss(), optimizer)


def iris(one_output: bool) -> Batches:
    g = generator(410)
    n = 600
    y = torch.arange(n) % 5
    c = 1.4 * torch.randn(5, 4, generator=g)
    x = standardized(c[y] + 0.45 * torch.randn(n, 4, generator=g))
    return loader((x, y.float().unsqueeze(1) if one_output else y), 30, 41)


@pair(
    "loss",
    "data",
    why="five flower classes learnt as the number 0..4 with one output and MSE, rounded afterwards: "
    "accuracy far below that of cross-entropy",
    source="symptom: SO iris/glass classification with mse and Dense(1) ('repairing DNN architecture')",
)
def iris_mse_class_index(faulty: bool) -> Program:
    torch.manual_seed(41)
    n_out = 1 if faulty else 5
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, n_out))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Program(model, iris(one_output=faulty), nn.MSELoss() if faulty else nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (
    spirals_no_activation,
    wine_zero_init,
    spectra_normal_init,
    sensor_plain_list,
    multilabel_softmax,
    haberman_labels_1_2,
    titanic_nan_age,
    credit_sigmoid_stack,
    gesture_half_adam,
    iris_mse_class_index,
)
