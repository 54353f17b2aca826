"""Flower's `Grid` without daemons: hands each message straight to the ClientApp, in this process, a site at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID, SERVER_ID, FIRST_NODE = 1, 1, 100


class InProcessGrid(Grid):
    """A grid of nodes that are function calls.

    Messages are created by Flower as everywhere else, so they hold what they would hold on a wire; only serialising and
    sending are left out. `TaskIdentity` and the message id are Flower's private business and are set here alone.

    Args:
        app: the ClientApp of all nodes; the context's `partition-id` tells them apart.
        names: of the nodes, by partition.
    """

    def __init__(self, app: ClientApp, names: Sequence[str]) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = RUN_ID, RUN_ID, SERVER_ID
        self._app = app
        self._names = {FIRST_NODE + index: name for index, name in enumerate(names)}
        self._contexts = {
            node: Context(
                run_id=RUN_ID,
                node_id=node,
                node_config={"partition-id": node - FIRST_NODE, "num-partitions": len(names)},
                state=RecordDict(),
                run_config={},
            )
            for node in self._names
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Remember the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that was set."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message, as Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes."""
        return list(self._names)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes with their names."""
        return [NodeInfo(node_id=node, name=name) for node, name in self._names.items()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Carry out every message now and keep the replies."""
        identifiers = []
        for message in messages:
            identifier = str(uuid.uuid4())
            message.metadata.__dict__["_message_id"] = identifier
            try:
                reply = self._app(message, self._contexts[message.metadata.dst_node_id])
            except Exception as error:  # as Flower's engines do: an exception becomes an error reply
                reply = Message(Error(code=2, reason=type(error).__name__), reply_to=message)
            self._replies[identifier] = reply
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return and forget the replies."""
        return [self._replies.pop(one) for one in list(message_ids) if one in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then pull."""
        return self.pull_messages(self.push_messages(messages))
