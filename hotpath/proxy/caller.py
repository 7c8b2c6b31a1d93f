"""Who is calling and what for: the outcome of the chain before the handler."""

from dataclasses import dataclass

from hotpath.proxy.wishes import Wishes
from ibex.rpc import VerifiedAgent, VerifiedToken


@dataclass(frozen=True)
class Caller:
    token: VerifiedToken
    agent: VerifiedAgent
    wishes: Wishes
