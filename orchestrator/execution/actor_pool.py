"""What the runner asks of the actors of one driver; `pool.Pool` holds them in Ray, and tests in memory."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from actors.messages.model import ModelSource
from orchestrator.scheduling.cluster import Resident
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand, Node


class ActorPool(Protocol):
    """The actors of one driver, by name; `pool.Pool` holds them in Ray."""

    @property
    def sources(self) -> Mapping[str, ModelSource]:
        """{model label: what its actors load}."""
        ...

    def nodes(self) -> Sequence[Node]:
        """The living nodes, without what others have taken of them."""
        ...

    def want(self, demands: Sequence[Demand]) -> None:
        """Tell an autoscaler which actors should find room side by side."""
        ...

    def residents(self) -> Mapping[str, Resident]:
        """The actors that hold a model now."""
        ...

    def start(self, start: Start, method: str = "", request: Any = None) -> None:
        """Send a request to an actor, which is opened if it is new; without a method it is only opened."""
        ...

    def wait(self, timeout: float) -> Iterable[tuple[str, Any]]:
        """(actor, message) pairs that have arrived; none after `timeout` seconds without any."""
        ...

    def evict(self, actor: str) -> None:
        """Close an actor."""
        ...

    def why_unplaceable(self, demand: Demand) -> str:
        """Why waiting for room is useless; empty while it may still come."""
        ...
