"""Bayesian factorization by Gibbs sampling: the mean prediction over everything that may be so.

One chain takes the ratings as lengths (`chain`), another as ordered levels (`ordinal`), or the mean
of both is predicted. An epoch is a sweep of every chain; the validation error is that of the mean
prediction over the sweeps after the burn-in, which is the first half of them, at most eight.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from model.chain import Chain
from model.dataset import AT_ONCE, Ratings
from model.effects import Grid, in_order
from model.fold_in import Newcomers
from model.kernels.threads import in_threads
from model.ordinal import Levels
from model.posterior import Draw, Places, Posterior, Scale
from model.regressions import both_sides
from model.side_features import described, rotation_of, side_features
from model.solver import Epoch, measured
from model.solvers import GibbsConfig

BURN_IN = 8  # sweeps at most


class Gibbs:
    """The solver; continuous ratings, or fewer than four levels, are lengths, whatever is asked."""

    def __init__(
        self, config: GibbsConfig, training: Ratings, *, device: torch.device, seed: int
    ) -> None:
        training = in_order(training).to(device)
        values, world, moments = training.values, training.world, training.moments
        generator = torch.Generator(device).manual_seed(seed)
        user_features, item_features, loadings = side_features(
            training,
            config.n_features,
            degree_power=config.degree_power,
            spectrum_power=config.spectrum_power,
            generator=generator,
        )
        groups = (
            [
                user_features,
                *(described(one, world).to(device) for one in training.user_descriptions),
            ],
            [item_features, *(described(one).to(device) for one in training.item_descriptions)],
        )
        levels = Levels(values, training.world) if config.likelihood != "gaussian" else None
        if levels and not levels.enough:
            levels = None
        kinds = [None, levels] if levels and config.likelihood == "both" else [levels]
        sides = both_sides(training)
        self._world = world
        self._chains = [
            Chain(
                replace(training, world=world.twin(number)),
                sides,
                groups,
                rank=config.rank,
                noise_dof=config.noise_dof,
                levels=kind,
                generator=torch.Generator(device).manual_seed(seed + number),
            )
            for number, kind in enumerate(kinds, start=1)
        ]
        self._n_ratings = moments.n
        self._scale = Scale(
            mean=moments.mean,
            scale=values.new_tensor(moments.scale),
            lowest=moments.lowest,
            highest=moments.highest,
            levels=levels.values if levels else values.new_zeros(0),
        )
        centre, rotation = rotation_of(groups[0][1:], device)
        item_centre, item_rotation = rotation_of(groups[1][1:], device)
        self._newcomers = Newcomers(
            loadings=loadings,
            degree_power=values.new_tensor(config.degree_power),
            noise_dof=values.new_tensor(config.noise_dof),
            centre=centre,
            rotation=rotation,
            item_centre=item_centre,
            item_rotation=item_rotation,
        )
        grids = [c.effects.grid if c.effects else Grid.empty(values) for c in self._chains]
        self.model = Posterior(self._scale, self._newcomers, grids)
        self._n_sweeps = 0

    def state(self) -> dict[str, Tensor]:
        """As `Resumable` says."""
        state = {"n_sweeps": torch.tensor(self._n_sweeps)}
        for number, chain in enumerate(self._chains):
            state |= {f"of_chain{number}.{name}": one for name, one in chain.state().items()}
        return state | self.model.kept()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """As `Resumable` says."""
        self._n_sweeps = int(state["n_sweeps"])
        for number, chain in enumerate(self._chains):
            prefix = f"of_chain{number}."
            own = {n.removeprefix(prefix): s for n, s in state.items() if n.startswith(prefix)}
            chain.restore(own)
        self.model.take_back(state)

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Draws every unknown of every chain once: a sweep an epoch."""
        n_chains = len(self._chains)
        asked = [None] * n_chains if validation is None else self.model.places(validation)

        def sweep(chain: Chain, at: Places | None) -> tuple[Draw, Tensor | float]:
            draw = chain.sweep()
            return draw, 0.0 if at is None else self.model.expected(draw, at)

        chains = list(zip(self._chains, asked, strict=True))
        total = torch.zeros(())
        # Of the sweeps that the mean will be without; nothing is validated by who goes on.
        n_first = min(self._n_sweeps, BURN_IN) - min(self._n_sweeps // 2, BURN_IN)
        first: deque[Tensor | float] = deque([0.0] * n_first)
        for number in itertools.count(self._n_sweeps + 1):
            draws, expected = zip(*in_threads(lambda both: sweep(*both), chains), strict=True)
            if number % 2 == 0 and number <= 2 * BURN_IN:
                self.model.forget_first()
                total = total - first.popleft()
            self.model.add(draws, self._world)
            self._n_sweeps = number
            of_sweep = sum(expected)
            total = total + of_sweep
            if number <= BURN_IN:
                first.append(of_sweep)
            n_draws = (number - min(number // 2, BURN_IN)) * len(draws)
            predictions = None if validation is None else self.model.clip(total / n_draws)
            yield measured(number, self._train_mse(), predictions, validation)

    def _train_mse(self) -> float:
        """Of the present draw, not of the mean; of an ordinal chain, of its z."""
        error = self._chains[0].residuals
        parts = torch.split(error, AT_ONCE[error.device.type])
        total = sum(in_threads(lambda part: part.double().square().sum().item(), parts))
        whole = self._world.sum(self._scale.mean.new_tensor(total)).item()
        return whole / self._n_ratings * self._scale.scale.item() ** 2
