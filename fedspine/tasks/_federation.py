"""A stage trained on lists of patients in memory: for studies, cross-validation and audits; no messages, no files.

One list is a site: several are a federation, one alone is a hospital by itself, and all patients in one list is what
pooling would give. The steps are the engines' own (`_rounds`) and so are the averaging by patients, the optimiser that
each site keeps between rounds, and the noise; messages, ledger, gate, the server's public steps and its look for
collapsed generators are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fedspine.cohort.tensors import PatientTensors
from fedspine.config import Plan, Stage
from fedspine.privacy.patient_sum import noise_generator, public_generator
from fedspine.tasks._combine import kept_weights, mean_weights, next_weights, note_average
from fedspine.tasks._rounds import Strength, optimiser_of, pretrain, set_rate, train_round
from fedspine.tasks._task import Trained, load_weights, travels

Weights = Mapping[str, Tensor]


def start(task: Trained, stage: Stage, phantoms: Sequence[PatientTensors], seed: int) -> dict[str, Tensor]:
    """Return the weights before round 1: fresh ones from `seed`, after the stage's public steps on `phantoms`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.build()
    if stage.pretrain_steps:
        draws = public_generator(seed, "pretrain", stage.name)
        pretrain(task, model, phantoms, stage, draws)
    return _copied(model)


def train(
    task: Trained,
    plan: Plan,
    stage: Stage,
    sites: Sequence[Sequence[PatientTensors]],
    weights: Weights,
    *,
    seed: int,
    watch: Callable[[int, Weights], None] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Return the task's network after all rounds of `stage`, in evaluation mode; the same for the same arguments.

    Args:
        task: what is trained.
        plan: its mechanism says whether clip and noise are in force; see `priced`.
        stage: rounds, steps, rates, clip and noise.
        sites: one list of patients a site.
        weights: to begin with; see `start`.
        seed: of sampling, noise and the patients' draws.
        watch: called after every round with its number, from 1, and the averaged weights.
        device: where networks train; weights are averaged, and the network is returned, on the CPU.
    """
    strength = Strength.of(plan, stage)
    models, pupil = [task.build().to(device) for _ in sites], task.build().to(device)
    optimisers = [optimiser_of(task, model, stage.learning_rate) for model in models]
    current, memory = dict(weights), dict[str, Tensor]()
    for number in range(1, stage.rounds + 1):
        for index, (model, optimiser, patients) in enumerate(zip(models, optimisers, sites, strict=True)):
            own = {} if number == 1 else {k: v for k, v in _copied(model).items() if not travels(task, k)}
            load_weights(model, {**current, **own})
            set_rate(optimiser, stage, number)
            noise = noise_generator(seed, "noise", index, stage.name, number)
            draws = public_generator(seed, "draws", index, stage.name, number)
            train_round(task, model, optimiser, patients, stage, strength, noise, draws, number=number)
        sent = [{k: v for k, v in _copied(model).items() if travels(task, k)} for model in models]
        mean = mean_weights(sent, [len(patients) for patients in sites])
        current = {**current, **next_weights(stage, current, mean, memory)}
        note_average(stage, current, memory)
        if watch:
            watch(number, kept_weights(stage, current, memory))
    load_weights(pupil, kept_weights(stage, current, memory))
    return pupil.cpu().eval()


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", copy=True) for key, value in model.state_dict().items()}
