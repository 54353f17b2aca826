"""What the private map is compared with: all data pooled (forbidden), a map per site, an averaged network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from fedspine.atlas.plane import plane
from simulations.map_study.cohort import SITES, Cohort

Array = NDArray[np.float64]
Map = tuple[Array, NDArray[np.int64]]

TOKENS, NEIGHBOURS, LEAST_DISTANCE = 6, 15, 0.1
ROUNDS, STEPS, EDGES, NEGATIVES, WIDTH, RATE = 60, 15, 512, 5, 128, 2e-3


def centralised(cohort: Cohort, seed: int) -> Map:
    """Return places and tokens by UMAP of everybody's features: what no consortium may do."""
    return _clustered(plane(cohort.rows, NEIGHBOURS, LEAST_DISTANCE, seed), seed)


def per_site(cohort: Cohort, seed: int) -> Map:
    """Return each site's own UMAP, laid over one another."""
    places = np.zeros((len(cohort.rows), 2))
    for site in range(SITES):
        here = cohort.sites == site
        if here.sum() > NEIGHBOURS:
            places[here] = plane(cohort.rows[here], NEIGHBOURS, LEAST_DISTANCE, seed)
    return _clustered(places, seed)


def averaged_network(cohort: Cohort, seed: int) -> Map:
    """Return the map of a parametric UMAP (Sainburg 2021) by plain FedAvg (McMahan 2017), local graphs, no privacy.

    Its loss pairs patients with patients, so gradients clipped a patient would not make it private.
    """
    from umap.umap_ import find_ab_params

    torch.manual_seed(seed)
    curve = find_ab_params(1.0, LEAST_DISTANCE)
    rows = torch.from_numpy(cohort.rows).float()
    local = [(rows[torch.from_numpy(cohort.sites == site)]) for site in range(SITES)]
    local = [site for site in local if len(site) > NEIGHBOURS]
    graphs = [_graph(site, seed) for site in local]
    models = [_network() for _ in local]
    optimisers = [torch.optim.Adam(model.parameters(), lr=RATE) for model in models]
    common = {key: value.clone() for key, value in models[0].state_dict().items()}
    weights = torch.tensor([float(len(site)) for site in local])
    for _ in range(ROUNDS):
        for model, optimiser, site, graph in zip(models, optimisers, local, graphs, strict=True):
            model.load_state_dict(common)
            for _ in range(STEPS):
                optimiser.zero_grad()
                _loss(model, site, graph, curve).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        states = [model.state_dict() for model in models]
        common = {
            key: sum((w * s[key] for w, s in zip(weights / weights.sum(), states, strict=True)), torch.zeros(()))
            for key in common
        }
    models[0].load_state_dict(common)
    with torch.no_grad():
        return _clustered(models[0](rows).numpy(), seed)


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))


def _graph(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the edges (2, edge) of a site's own fuzzy neighbourhood graph, and their weights (edge,)."""
    from umap.umap_ import fuzzy_simplicial_set

    graph = fuzzy_simplicial_set(rows.numpy(), NEIGHBOURS, np.random.RandomState(seed), "euclidean")[0].tocoo()
    ends = np.stack([graph.row, graph.col]).astype(np.int64)
    return torch.from_numpy(ends), torch.from_numpy(graph.data.astype(np.float32))


def _loss(model: nn.Module, rows: Tensor, graph: tuple[Tensor, Tensor], curve: tuple[float, float]) -> Tensor:
    """Return UMAP's cross entropy over edges drawn by weight, and as many random pairs for each as `NEGATIVES`."""
    (ends, weights), (a, b) = graph, curve
    head, tail = ends[:, torch.multinomial(weights, EDGES, replacement=True)]
    far = torch.randint(len(rows), (EDGES * NEGATIVES,))
    placed = model(torch.cat([rows[head], rows[tail], rows[far]]))
    one, other, away = placed.split([EDGES, EDGES, EDGES * NEGATIVES])

    def log_odds(apart: Tensor) -> Tensor:
        return -torch.log(torch.as_tensor(a)) - b * torch.log(apart.square().sum(1) + 1e-4)

    near = F.logsigmoid(log_odds(one - other)).mean()
    random = F.logsigmoid(-log_odds(one.repeat(NEGATIVES, 1) - away)).mean()
    return -(near + NEGATIVES * random)


def _clustered(places: NDArray[np.floating], seed: int) -> Map:
    exact = places.astype(np.float64)
    return exact, KMeans(TOKENS, n_init=10, random_state=seed).fit_predict(exact).astype(np.int64)
