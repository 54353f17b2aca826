"""A causal graph that is executed: what causes what, written down once and drawn in that order.

Every node is drawn by one function that is handed its parents' values, and nothing else, and a random stream of its own
that is keyed by the node's name. So an intervention (`do`) reaches the node's descendants only, and the chance of all
other nodes stays as it was: a counterfactual in Pearl's sense (2009, Causality, chapter 7), not merely another draw.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Entropy = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One thing that is drawn.

    Args:
        name: of the node; also of the keyword under which its children receive it.
        parents: the names of its direct causes.
        draw: called with the node's stream and its parents as keywords.
        says: what the node is, for the page that shows the graph.
    """

    name: str
    parents: tuple[str, ...]
    draw: Callable[..., Any] = field(repr=False)
    says: str = ""


Graph = tuple[Node, ...]
"""Nodes in causal order: parents before children."""


def checked(*nodes: Node) -> Graph:
    """Return the nodes as a graph.

    >>> checked(Node("rain", (), print), Node("wet", ("rain",), print))[1].parents
    ('rain',)

    Raises:
        ValueError: if a name is taken twice or a parent does not come before its child.
    """
    seen: set[str] = set()
    for node in nodes:
        if node.name in seen or not set(node.parents) <= seen:
            raise ValueError(f"a node must have a new name and come after its parents; got {node.name}")
        seen.add(node.name)
    return nodes


def entropy_from(generator: np.random.Generator) -> Entropy:
    """Return 128 bits of `generator`, from which all streams of one person are derived."""
    return tuple(int(word) for word in generator.integers(0, 2**32, size=4, dtype=np.uint64))


def stream(entropy: Entropy, name: str) -> np.random.Generator:
    """Return the random stream of the node called `name`, the same on every machine."""
    seeds = np.random.SeedSequence(entropy, spawn_key=(zlib.crc32(name.encode()),))
    return np.random.Generator(np.random.PCG64(seeds))


def run(
    graph: Graph,
    entropy: Entropy,
    do: Mapping[str, Any] | None = None,
    wanted: Sequence[str] = (),
    own: Mapping[str, Entropy] | None = None,
) -> dict[str, Any]:
    """Draw every node, or only those that the `wanted` ones need, and return the values by name.

    A node in `do` is set, not drawn; one in `own` is drawn by entropy of its own, so that its chance can be drawn anew
    while all other chance stays.
    """
    streams = own or {}
    forced = dict(do or {})
    needed = ancestors(graph, wanted) if wanted else {node.name for node in graph}
    unknown = set(forced) - {node.name for node in graph}
    if unknown:
        raise ValueError(f"an intervention must set a node of the graph; got {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {}
    for node in graph:
        if node.name in forced:
            values[node.name] = forced[node.name]
        elif node.name in needed:
            parents = {parent: values[parent] for parent in node.parents}
            values[node.name] = node.draw(stream(streams.get(node.name, entropy), node.name), **parents)
    return values


def ancestors(graph: Graph, names: Sequence[str]) -> frozenset[str]:
    """Return `names` and all that cause them."""
    reached = set(names)
    for node in reversed(graph):
        if node.name in reached:
            reached |= set(node.parents)
    return frozenset(reached)


def as_text(graph: Graph) -> str:
    """Return the graph as a table of text, one node a line, causes first.

    >>> print(as_text(checked(Node("rain", (), print, "of a day"), Node("wet", ("rain",), print, "the street"))))
    rain  <-  nothing   of a day
    wet   <-  rain      the street
    """
    causes = {node.name: ", ".join(node.parents) or "nothing" for node in graph}
    first, second = max(map(len, causes)), max(map(len, causes.values()))
    lines = (f"{node.name:<{first}}  <-  {causes[node.name]:<{second}}   {node.says}" for node in graph)
    return "\n".join(line.rstrip() for line in lines)
