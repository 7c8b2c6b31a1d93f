"""`ibex … limits` on a real database."""

import pytest
import redis.asyncio

from ibex.stores import keys
from ibex.stores.identity import IdentityStore
from tests.command_line import ibex


@pytest.mark.usefixtures("environment")
async def test_limits_are_shown_set_and_announced(
    identity: IdentityStore, redis_client: redis.asyncio.Redis
) -> None:
    org_id = await identity.create_organization("shop")
    agent_id = await identity.create_agent(org_id, "clerk")
    token = await identity.create_token(org_id, "app")
    nothing = {"requests_per_minute": None, "tokens_per_minute": None}
    async with redis_client.pubsub() as channel:
        await channel.subscribe(keys.INVALIDATIONS)
        for words, message in (
            (("org", "limits", "shop"), f"organization:{org_id}"),
            (("agent", "limits", "clerk", "--org", "shop"), f"agent:{org_id}:{agent_id}"),
            (("token", "limits", str(token.id), "--org", "shop"), f"token:{token.id}"),
        ):
            assert await ibex(*words) == nothing
            set_one = {"requests_per_minute": 60, "tokens_per_minute": None}
            assert await ibex(*words, "--requests", "60") == set_one
            both = {"requests_per_minute": 60, "tokens_per_minute": 0}
            assert await ibex(*words, "--tokens", "0") == both
            assert await ibex(*words) == both
            only = {"requests_per_minute": 5, "tokens_per_minute": None}
            assert await ibex(*words, "--default", "--requests", "5") == only
            assert await ibex(*words, "--default") == nothing
            heard: list[str] = []
            while len(heard) < 4:
                told = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
                if told is not None:
                    heard.append(told["data"].decode())
            assert heard == [message] * 4
