"""Objects in S3. The `minio` client blocks, so every call runs in a thread and has a deadline."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ibex.errors import NotFoundError, ObjectStoreUnavailableError
from ibex.settings import Settings

if TYPE_CHECKING:
    import urllib3
    from minio import Minio

PRESIGNED_FOR = timedelta(minutes=15)
_CONNECT, _READ = 3.0, 15.0  # seconds, of one attempt
_DEADLINE = 30.0  # seconds, of one operation
SLOWEST = 2**20  # bytes a second that a large object is given beyond that
_PIECE = 2**18  # bytes
_LISTED_AT_ONCE = 1000
_REGION = "us-east-1"  # given, so that the client does not ask the server for it first
_ABSENT = {"NoSuchKey", "NoSuchBucket", "NoSuchObject"}
_PRESENT = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}

T = TypeVar("T")


@dataclass(frozen=True)
class StoredObject:
    bucket: str
    key: str
    size: int  # bytes
    sha256: bytes


@dataclass(frozen=True)
class ListedObject:
    key: str
    size: int  # bytes
    modified: datetime | None  # by the store's clock


class ObjectStore:
    """Raises ObjectStoreUnavailableError from every method that asks the server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Minio | None = None
        self._pool: urllib3.PoolManager | None = None
        self._buckets: set[str] = set()

    async def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""
        if bucket not in self._buckets:
            await self._call(lambda client: _make_bucket(client, bucket))
            self._buckets.add(bucket)

    async def put(
        self, bucket: str, key: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> StoredObject:
        """Write an object whole and see that it arrived: its bytes are read back."""
        sha256 = hashlib.sha256(data).digest()

        def put(client: "Minio") -> None:
            client.put_object(bucket, key, io.BytesIO(data), len(data), content_type)
            if _digest(client, bucket, key) != (len(data), sha256):
                raise ObjectStoreUnavailableError("The object store holds other bytes than sent.")

        await self.ensure_bucket(bucket)
        await self._call(put, _DEADLINE + len(data) / SLOWEST)
        return StoredObject(bucket, key, len(data), sha256)

    async def digest(self, bucket: str, key: str) -> tuple[int, bytes]:
        """Size in bytes and SHA-256 of what the object holds now. Raises NotFoundError."""

        size = await self._size(bucket, key)
        return await self._call(
            lambda client: _digest(client, bucket, key), _DEADLINE + size / SLOWEST
        )

    async def get(self, bucket: str, key: str) -> bytes:
        """Raises NotFoundError."""

        def get(client: "Minio") -> bytes:
            response = client.get_object(bucket, key)
            try:
                return bytes(response.data)
            finally:
                response.close()
                response.release_conn()

        size = await self._size(bucket, key)
        return await self._call(get, _DEADLINE + size / SLOWEST)

    async def listed(self, bucket: str, prefix: str = "") -> AsyncIterator[list[ListedObject]]:
        """All objects whose key begins with `prefix`, some at a time."""
        await self.ensure_bucket(bucket)
        found = await self._call(
            lambda client: client.list_objects(bucket, prefix=prefix, recursive=True)
        )
        while batch := await self._call(
            lambda _: [
                ListedObject(one.object_name or "", one.size or 0, one.last_modified)
                for one in islice(found, _LISTED_AT_ONCE)
            ]
        ):
            yield batch

    async def presign(self, bucket: str, key: str) -> str:
        """A URL that reads the object for 15 minutes; asks nobody."""
        return await self._call(
            lambda client: client.presigned_get_object(bucket, key, expires=PRESIGNED_FOR)
        )

    async def presign_all(
        self, bucket: str, keys: Sequence[str], valid_for: timedelta
    ) -> list[str]:
        """A URL for each; its path has the key as it is, `=` included."""

        def presign(client: "Minio") -> list[str]:
            urls = [client.presigned_get_object(bucket, key, expires=valid_for) for key in keys]
            return [
                "?".join((path.replace("%3D", "="), query)) for path, query in map(_parts, urls)
            ]

        return await self._call(presign)

    async def keys(self, bucket: str, prefix: str) -> list[str]:
        """Of every object whose key begins with `prefix`."""
        return [one.key async for batch in self.listed(bucket, prefix) for one in batch]

    async def delete(self, bucket: str, key: str) -> None:
        """What is not there is deleted already."""
        await self._call(lambda client: client.remove_object(bucket, key))

    async def answers(self) -> bool:
        try:
            await self._call(lambda client: client.bucket_exists(self._settings.sessions_bucket))
        except ObjectStoreUnavailableError:
            return False
        return True

    async def _size(self, bucket: str, key: str) -> int:
        """Asked before a GET: to one of what is not there rclone answers with XML that calls itself
        "text/xml", and the client then does not read the error's code."""
        return await self._call(lambda client: client.stat_object(bucket, key).size or 0)

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.clear()

    async def _call(self, work: "Callable[[Minio], T]", deadline: float = _DEADLINE) -> T:
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.to_thread(self._guarded, work)
        except TimeoutError as error:
            raise ObjectStoreUnavailableError("The object store is too slow.") from error

    def _guarded(self, work: "Callable[[Minio], T]") -> T:
        # A quarter of a second to import, and only whoever touches objects needs it.
        from minio.error import MinioException, S3Error  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return work(self._client())
        except S3Error as error:
            if error.code in _ABSENT:
                raise NotFoundError("There is no such object.") from None
            raise ObjectStoreUnavailableError(
                f"The object store refuses ({error.code})."
            ) from error
        except (MinioException, HTTPError, OSError) as error:
            raise ObjectStoreUnavailableError(
                f"The object store does not answer ({type(error).__name__})."
            ) from error

    def _client(self) -> "Minio":
        if self._made is None:
            import urllib3  # noqa: PLC0415
            from minio import Minio  # noqa: PLC0415

            endpoint = urlsplit(self._settings.s3_endpoint)
            self._pool = urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT, read=_READ),
                retries=urllib3.Retry(1, status_forcelist=(500, 502, 503, 504)),
                maxsize=8,
            )
            self._made = Minio(
                endpoint.netloc,
                access_key=self._settings.s3_access_key,
                secret_key=self._settings.s3_secret_key.get_secret_value(),
                secure=endpoint.scheme == "https",
                region=_REGION,
                http_client=self._pool,
            )
        return self._made


def _parts(url: str) -> tuple[str, str]:
    path, _, query = url.partition("?")
    return path, query


def _digest(client: "Minio", bucket: str, key: str) -> tuple[int, bytes]:
    """Size and SHA-256 of what is there, read piece by piece."""
    hashed, size = hashlib.sha256(), 0
    response = client.get_object(bucket, key)
    try:
        for piece in response.stream(_PIECE):
            hashed.update(piece)
            size += len(piece)
    finally:
        response.close()
        response.release_conn()
    return size, hashed.digest()


def _make_bucket(client: "Minio", bucket: str) -> None:
    from minio.error import S3Error  # noqa: PLC0415

    if client.bucket_exists(bucket):
        return
    try:
        client.make_bucket(bucket)
    except S3Error as error:
        if error.code not in _PRESENT:
            raise
