"""What a secure sum costs beside a plain one: bytes up, seconds at a site, seconds at the server, by sites and size.

Run: `python -m simulations.secure_cost`. A site's seconds are all that masks and shared noise add to a round: a key and
its signature, checking everybody's, drawing the noise, masking. Gradients are not counted, for they cost the same
either way. Every number is the median of three, in seconds of one core (`fedspine` runs a site on one thread).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from torch import Tensor

from fedspine.privacy.integer_sum import IntegerSum
from fedspine.privacy.patient_sum import noise_generator
from fedspine.secure.encoding import added, decoded, to_tensor, to_words, width_for
from fedspine.secure.keys import OFFER_BYTES, Context, offer, verified
from fedspine.secure.masks import masked
from fedspine.secure.roster import Roster, roster_of

SIZES, SITES = (30_000, 1_000_000), (5, 10, 20)
PATIENTS, SIGMA, COLLUDING, REPEATS = 100, 4.0, 1, 3


@dataclass(frozen=True)
class Cost:
    """Of one round.

    Args:
        entries: of the vector.
        sites: who take part.
        bits: of a word.
        bytes_up: a site's, key and words.
        site_s, server_s: CPU seconds, the median of three.
    """

    entries: int
    sites: int
    bits: int
    bytes_up: int
    site_s: float
    server_s: float

    @property
    def times_plain(self) -> float:
        """Bytes up over those of the same vector as float32."""
        return self.bytes_up / (4 * self.entries)


def cost(entries: int, sites: int) -> Cost:
    """Return what one round costs; one site computes, the others' keys are there."""
    names = tuple(f"site-{index:02d}" for index in range(sites))
    signing = {name: Ed25519PrivateKey.generate() for name in names}
    roster = roster_of({name: key.public_key().public_bytes_raw().hex() for name, key in signing.items()})
    context = Context("00" * 32, "segment", 1, 1, roster.digest(), names)
    offers = {name: offer(X25519PrivateKey.generate(), name, signing[name], context) for name in names}
    bits = width_for(PATIENTS * sites, entries, SIGMA, sites, sites - COLLUDING)
    sent: list[Tensor] = []
    site_s = _seconds(lambda: sent.append(_site(entries, bits, names[0], signing[names[0]], offers, roster, context)))
    vectors = [sent[-1]] * sites
    server_s = _seconds(lambda: decoded(added(vectors, bits), 1.0))
    return Cost(entries, sites, bits, OFFER_BYTES + sent[-1].nbytes, site_s, server_s)


def _site(
    entries: int,
    bits: int,
    name: str,
    signing: Ed25519PrivateKey,
    offers: dict[str, bytes],
    roster: Roster,
    context: Context,
) -> Tensor:
    own = X25519PrivateKey.generate()
    others = verified({**offers, name: offer(own, name, signing, context)}, roster, context)
    total = IntegerSum(entries, 1.0)
    share = total.release_share(SIGMA, len(others) - COLLUDING, noise_generator(None))
    return to_tensor(masked(to_words(share, bits), own, name, others, context))


def _seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return median(found)


def table(costs: list[Cost]) -> str:
    """Return the costs as a table in Markdown."""
    lines = [
        "| parameters | sites | bits | bytes up a site | over float32 | CPU seconds a site | CPU seconds, server |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for one in costs:
        lines.append(
            f"| {one.entries:,} | {one.sites} | {one.bits} | {one.bytes_up:,} | {one.times_plain:.3f} | "
            f"{one.site_s:.3f} | {one.server_s:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    sys.stdout.write(table([cost(entries, sites) for entries in SIZES for sites in SITES]) + "\n")


if __name__ == "__main__":
    main()
