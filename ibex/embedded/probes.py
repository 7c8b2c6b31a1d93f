"""Does it answer? Each probe is one short attempt; a server that is down is False, not an error."""

from datetime import timedelta

import grpc.aio
import redis.asyncio
from grpc_health.v1 import health_pb2
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from redis.exceptions import RedisError

_LIMIT = 2.0  # seconds


async def http_status(url: str) -> int | None:
    """The status of a GET, or None when nobody answers HTTP there."""
    async with ClientBuilder().no_proxy().timeout(timedelta(seconds=_LIMIT)).build() as client:
        try:
            response = await client.get(url).build().send()
        except PyreqwestError:
            return None
        return response.status


async def http_answers(url: str) -> bool:
    """Somebody speaks HTTP there, whatever the status (S3 refuses an anonymous GET)."""
    return await http_status(url) is not None


async def http_ok(url: str) -> bool:
    return await http_status(url) == 200


async def redis_answers(dsn: str) -> bool:
    client = redis.asyncio.Redis.from_url(dsn, socket_connect_timeout=_LIMIT, socket_timeout=_LIMIT)
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()


async def grpc_serving(target: str) -> bool:
    """The process behind host:port says SERVING (grpc.health.v1)."""
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=_LIMIT)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
