"""An object store whose user dies in the middle."""

from ibex.settings import Settings
from ibex.stores.objects import ObjectStore, StoredObject


class Crash(BaseException):
    """kill -9: nothing after it happens."""


class CrashingStore(ObjectStore):
    """Dies in the middle of the put with this number (from 1), when its bytes are there or before;
    what it leaves of a torn one is its first half."""

    def __init__(self, settings: Settings, put: int, moment: str) -> None:
        super().__init__(settings)
        self._left = put
        self._moment = moment

    async def put(
        self, bucket: str, key: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> StoredObject:
        self._left -= 1
        if self._left:
            return await super().put(bucket, key, data, content_type=content_type)
        if self._moment != "before":
            left = data if self._moment == "after" else data[: len(data) // 2]
            await super().put(bucket, key, left, content_type=content_type)
        raise Crash
