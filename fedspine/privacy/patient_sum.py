"""The one primitive: a sum over patients, each term clipped, noised once.

    release = Σ_{patient in sample} clip(f(patient), C) + N(0, (σC)²)

Argument. Neighbouring cohorts differ by one patient, added or removed with everything the hospital has of them. Each
term is computed from that patient alone (and public or already released values), so the two sums differ by that one
patient's clipped term, whose L2 norm over all its tensors together is at most C. The Gaussian mechanism with standard
deviation σC then gives the guarantee that `privacy.accounting` states; with Poisson sampling of patients it is the
subsampled Gaussian mechanism (Abadi et al. 2016; Mironov, Talwar, Zhang 2019). A term that is not finite is replaced
by zero, which is again a function of that patient alone.

An empty sum still receives its noise: without it, silence would tell that nobody was sampled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import torch
from randomgen import ChaCha
from torch import Tensor

from fedspine.errors import PrivacyError


class PatientSum:
    """Accumulates clipped terms and releases them once.

    Args:
        like: tensors whose shapes the terms have.
        clip: the bound C on a term's joint L2 norm; infinity only without noise.
    """

    def __init__(self, like: Sequence[Tensor], clip: float) -> None:
        if not clip > 0:
            raise PrivacyError(f"clip must be positive, got {clip}; see docs/how-to/choose-privacy.md")
        self.total = [torch.zeros_like(tensor) for tensor in like]
        self.clip = clip
        self._released = False

    def add(self, term: Sequence[Tensor]) -> None:
        """Add one patient's `term`, scaled down to norm C if it is larger; zero if it is not finite."""
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(term)))))
        if norm == float("inf") or norm != norm:
            return
        scale = min(1.0, self.clip / norm) if norm > 0 else 1.0
        torch._foreach_add_(self.total, list(term), alpha=scale)

    def release(self, noise_multiplier: float, generator: np.random.Generator) -> list[Tensor]:
        """Return the sum plus Gaussian noise of standard deviation `noise_multiplier` times C; only once.

        Raises:
            PrivacyError: at a second release, at a negative multiplier, or at noise without a finite bound.
        """
        if self._released:
            raise PrivacyError("a patient sum is released once; make another for another release")
        if noise_multiplier < 0 or (noise_multiplier > 0 and self.clip == float("inf")):
            raise PrivacyError(
                f"noise_multiplier must be 0 or more, with a finite clip, got {noise_multiplier} and {self.clip}"
            )
        self._released = True
        if noise_multiplier > 0:
            for tensor in self.total:
                # as fine as the sum: a float32 draw on a float64 sum would leave the sum's own last digits bare
                kind = np.float64 if tensor.dtype == torch.float64 else np.float32
                noise = generator.standard_normal(tuple(tensor.shape), dtype=kind)
                tensor.add_(torch.from_numpy(np.asarray(noise)).to(tensor.device), alpha=noise_multiplier * self.clip)
        return self.total


def noise_generator(seed: int | None, *purpose: object) -> np.random.Generator:
    """Return the random generator of a release: the ChaCha20 keystream (RFC 8439), a CSPRNG.

    Its key of 256 bits is the system's entropy, fresh for every release and used for one stream, so nonce and counter
    begin at 0. The keystream is that of `randomgen`, equal by test to RFC 8439's. Torch's own generator will not do:
    whatever seed it is given, it keeps 32 bits of it, and 2³² seeds can be tried. Nor will a generator made for
    statistics, such as Philox or PCG64: a release shows some of its draws, and nobody claims that the others cannot be
    told from these.

    Args:
        seed: `None` takes the key from the operating system's CSPRNG. A number is for simulations and tests only:
            whoever knows it can subtract the noise.
        purpose: with a seed, what tells one use from another (site, stage, round), so that no noise is drawn twice.
    """
    key = os.urandom(32) if seed is None else _hashed(seed, purpose)
    return np.random.Generator(ChaCha(key=int.from_bytes(key, "little"), rounds=20))


def public_generator(seed: int, *purpose: object) -> torch.Generator:
    """Return a generator of public randomness, which protects nobody: initial weights, phantoms, made images."""
    return torch.Generator().manual_seed(int.from_bytes(_hashed(seed, purpose)[:7], "big"))


def _hashed(seed: int, purpose: tuple[object, ...]) -> bytes:
    return hashlib.shake_256("\x1f".join(str(part) for part in (seed, *purpose)).encode()).digest(32)


def poisson_sample(count: int, rate: float, generator: np.random.Generator) -> list[int]:
    """Return which of `count` patients take part: each on its own with probability `rate`; the sample may be empty."""
    if rate >= 1:
        return list(range(count))
    taken: list[int] = np.flatnonzero(generator.random(count) < rate).tolist()
    return taken
