"""Published programs that learn a quantity: from the columns of a table, or a function from its equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from programs.pair import Pair, Program, pair
from programs.published_data import Batches, generator, loader, standardized


def cars() -> Batches:
    g = generator(30)
    n = 512
    cyl = torch.tensor([4.0, 6.0, 8.0])[torch.randint(0, 3, (n,), generator=g)]
    disp = 40 * cyl + 25 * torch.randn(n, generator=g)
    hp = 20 * cyl + 12 * torch.randn(n, generator=g)
    wt = 1200 + 320 * cyl + 250 * torch.randn(n, generator=g)
    year = torch.randint(70, 83, (n,), generator=g).float()
    mpg = 46 - 0.0065 * wt - 0.03 * hp + 0.7 * (year - 76) + 3 * torch.exp(-(((hp - 90) / 30) ** 2))
    mpg = mpg + 1.2 * torch.randn(n, generator=g)
    x = standardized(torch.stack([cyl, disp, hp, wt, year], 1))
    y = standardized(mpg.unsqueeze(1))
    return loader((x, y), 32, 3)


@pair(
    "activation",
    why="sigmoid on the output of a regression whose standardized target goes below 0 and above 1: "
    "predictions never leave (0, 1)",
    source="symptom: Keras/PyTorch regression with sigmoid last layer, loss stops falling early "
    "(Stack Overflow regressions)",
)
def mpg_sigmoid_output(faulty: bool) -> Program:
    torch.manual_seed(3)
    layers = [nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)]
    model = nn.Sequential(*layers, *([nn.Sigmoid()] if faulty else []))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return Program(model, cars(), nn.MSELoss(), optimizer)


def power_plant(scaled: bool) -> Batches:
    g = generator(40)
    n = 800
    kelvin = 273 + 20 + 8 * torch.randn(n, generator=g)
    pascal = 101325 + 600 * torch.randn(n, generator=g)
    humidity = 40 + 60 * torch.rand(n, generator=g)
    vacuum = 54 + 12 * torch.randn(n, generator=g)
    z = torch.stack([(kelvin - 293) / 8, (pascal - 101325) / 600, (humidity - 70) / 17, (vacuum - 54) / 12], 1)
    y = -1.0 * z[:, 0] - 0.6 * z[:, 3] + 0.4 * z[:, 1] * z[:, 0] - 0.3 * z[:, 2] ** 2
    y = y + 0.1 * torch.randn(n, generator=g)
    y = ((y - y.mean()) / y.std()).unsqueeze(1)
    x = torch.stack([kelvin, pascal, humidity, vacuum], 1)
    return loader((standardized(x) if scaled else x, y), 40, 4)


@pair(
    "data",
    why="pressure in Pa (1e5) beside humidity in %: columns not standardized, the loss starts above 1e6 "
    "and after 400 steps the net is still worse than the mean",
    source="symptom: 'neural network regression predicts nearly the same value for all rows', answer: StandardScaler",
)
def powerplant_raw_columns(faulty: bool) -> Program:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, power_plant(scaled=not faulty), nn.MSELoss(), optimizer)


def bikes(column: bool) -> Batches:
    g = generator(60)
    n = 768
    hour = torch.randint(0, 24, (n,), generator=g).float()
    temp = 15 + 8 * torch.randn(n, generator=g)
    wind = 10 * torch.rand(n, generator=g)
    y = 2 * torch.sin(2 * math.pi * (hour - 9) / 24) + 0.08 * (temp - 15) - 0.1 * wind
    y = y + 0.15 * torch.randn(n, generator=g)
    y = (y - y.mean()) / y.std()
    angle = 2 * math.pi * hour / 24
    x = torch.stack([torch.sin(angle), torch.cos(angle), (temp - 15) / 8, (wind - 5) / 2.9], 1)
    return loader((x, y.unsqueeze(1) if column else y), 64, 6)


class BikeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(4, 40)
        self.l2 = nn.Linear(40, 20)
        self.out = nn.Linear(20, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.l2(torch.tanh(self.l1(x)))))


@pair(
    "data",
    "loss",
    "wiring",
    why="target of shape (N,) against output (N,1) broadcasts to (N,N) and the net learns the mean of the batch",
    source="symptom: PyTorch forum 'network outputs the mean / same value', "
    "answer: target.unsqueeze(1) / output.squeeze()",
)
def bike_broadcast_mse(faulty: bool) -> Program:
    torch.manual_seed(6)
    model = BikeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return Program(model, bikes(column=not faulty), lambda out, target: ((out - target) ** 2).mean(), optimizer)


def concrete() -> Batches:
    g = generator(240)
    n = 640
    cement = 100 + 440 * torch.rand(n, generator=g)
    water = 120 + 120 * torch.rand(n, generator=g)
    ash = 200 * torch.rand(n, generator=g)
    age = torch.tensor([3.0, 7.0, 14.0, 28.0, 56.0, 90.0])[torch.randint(0, 6, (n,), generator=g)]
    y = 0.09 * cement - 0.15 * (water - 180) + 0.04 * ash + 9 * torch.log(age) + 2 * torch.randn(n, generator=g)
    x = torch.stack([cement, water, ash, torch.log(age)], 1)
    return loader((standardized(x), standardized(y.unsqueeze(1))), 32, 24)


@pair(
    "normalization",
    why="nn.Dropout(0.5) behind the output layer of a regression: half of the predictions are zeroed, the rest doubled",
    source="symptom: 'Dropout after the last Dense layer' (SO: regression loss does not go down with dropout)",
)
def concrete_dropout_output(faulty: bool) -> Program:
    torch.manual_seed(24)
    layers = [nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)]
    model = nn.Sequential(*layers, *([nn.Dropout(0.5)] if faulty else []))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Program(model, concrete(), nn.MSELoss(), optimizer)


def airfoils() -> Batches:
    g = generator(320)
    n = 600
    x = torch.randn(n, 5, generator=g)
    y = 0.8 * x[:, 0] - 0.7 * x[:, 1] * x[:, 2] + 0.5 * torch.sin(2 * x[:, 3]) + 0.1 * torch.randn(n, generator=g)
    return loader((x, standardized(y.unsqueeze(1))), 30, 32)


@pair(
    "learning-rate",
    why="SGD lr=0.5 with momentum 0.9 on an MSE regression: loss explodes to inf/nan within a few steps",
    source="https://datascience.stackexchange.com/questions/15962",
)
def airfoil_sgd_diverges(faulty: bool) -> Program:
    torch.manual_seed(32)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5 if faulty else 0.02, momentum=0.9)
    return Program(model, airfoils(), nn.MSELoss(), optimizer)


def houses(scaled: bool) -> Batches:
    g = generator(340)
    n = 640
    sqft = 1500 + 500 * torch.randn(n, generator=g)
    rooms = torch.randint(2, 7, (n,), generator=g).float()
    year = 1920 + 100 * torch.rand(n, generator=g)
    dist = 30 * torch.rand(n, generator=g)
    price = 90 * sqft + 12000 * rooms + 600 * (year - 1920) - 2500 * dist + 15000 * torch.randn(n, generator=g)
    y = price.unsqueeze(1)
    x = standardized(torch.stack([sqft, rooms, year, dist], 1))
    return loader((x, standardized(y) if scaled else y), 32, 34)


class HouseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU())
        self.price = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.price(self.body(x))


@pair(
    "data",
    "init",
    why="prices of some 2e5 dollars as target without scaling: "
    "after hundreds of steps the predictions are still near zero",
    source="symptom: house price regression 'loss is huge and barely decreases', answer: scale the target "
    "(same cause: https://stackoverflow.com/questions/52800582)",
)
def house_price_dollars(faulty: bool) -> Program:
    torch.manual_seed(34)
    model = HouseNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Program(model, houses(scaled=not faulty), nn.L1Loss(), optimizer)


class PINN(nn.Module):
    """Solves u'' = -pi^2 sin(pi t), u(0) = u(1) = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            t = t.detach().clone().requires_grad_(True)
            u = self.net(2 * t - 1)
            du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
            d2u = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
        ends = self.net(torch.tensor([[-1.0], [1.0]]))
        return u, d2u, ends


def collocation() -> Batches:
    g = generator(280)
    t = torch.rand(640, 1, generator=g)
    return loader((t, -torch.sin(math.pi * t)), 32, 28)


def pinn_loss(out: tuple[Tensor, Tensor, Tensor], force: Tensor) -> Tensor:
    _, d2u, ends = out
    return ((d2u / math.pi**2 - force) ** 2).mean() + 5 * (ends**2).mean()


@pair(
    "optimizer",
    why="weight_decay=0.1 meant as decay of the learning rate: the weights shrink, the solution stays nearly flat",
    source="symptom: PyTorch forum 'weight_decay is not learning rate decay', Keras decay= ported to PyTorch",
)
def pinn_weight_decay(faulty: bool) -> Program:
    torch.manual_seed(28)
    model = PINN()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=0.1 if faulty else 0)
    return Program(model, collocation(), pinn_loss, optimizer)


PAIRS: tuple[Pair, ...] = (
    mpg_sigmoid_output,
    powerplant_raw_columns,
    bike_broadcast_mse,
    concrete_dropout_output,
    airfoil_sgd_diverges,
    house_price_dollars,
    pinn_weight_decay,
)
