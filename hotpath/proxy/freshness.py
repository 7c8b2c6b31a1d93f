"""Drops what the proxy keeps about tokens, agents and directives when it is told of a change."""

from hotpath.proxy.agents import AgentVerifier
from hotpath.proxy.auth import TokenVerifier
from hotpath.proxy.directives import Directives
from ibex.ids import parse_id


class Freshness:
    def __init__(
        self, tokens: TokenVerifier, agents: AgentVerifier, directives: Directives
    ) -> None:
        self._tokens = tokens
        self._agents = agents
        self._directives = directives

    def changed(self, message: str) -> None:
        """A message of `ibex.stores.keys.INVALIDATIONS`; one that is not understood is nothing."""
        kind, *ids = message.split(":")
        changed = parse_id(ids[-1]) if ids else None
        if changed is None:
            return
        if kind == "token":
            self._tokens.forget(changed)
        elif kind == "organization":
            self._tokens.forget_organization(changed)
        elif kind == "agent":
            self._agents.forget(changed)
        elif kind == "directive":
            self._directives.forget(changed)

    def missed(self) -> None:
        """Messages may have been lost: nothing that is known may be believed."""
        self._tokens.forget()
        self._agents.forget()
        self._directives.forget()
