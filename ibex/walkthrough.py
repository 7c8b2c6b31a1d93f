"""Uses IBEX from outside, as an application does: the openai client, the API, Dagster's GraphQL.

`ibex demo` and `ibex smoke` are made of these steps; nothing here looks into a database.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from ibex.errors import DependencyError, IbexError
from ibex.settings import Settings

_POLL = 0.1  # seconds
_CALL_LIMIT = timedelta(seconds=10)
_MODEL_LIMIT = 180.0  # seconds for one answer: a local model may be slow


class WalkthroughError(IbexError):
    """The loop did not do what it must."""

    code = "walkthrough_failed"
    hint = "'ibex status' shows what runs, 'ibex logs' what it said."


@dataclass(frozen=True)
class Answer:
    text: str
    request_id: str
    session_id: str
    headers: Mapping[str, str]
    seconds: float

    @property
    def memories_injected(self) -> int:
        return int(self.headers.get("x-ibex-memories-injected", "0"))

    @property
    def fell_back(self) -> bool:
        return self.headers.get("x-ibex-context-fallback") == "true"

    @property
    def fallback_reason(self) -> str:
        return self.headers.get("x-ibex-context-fallback-reason", "")


@dataclass(frozen=True)
class Learned:
    """What became of a completed session, and when (seconds since its completion)."""

    seconds: float
    memories: tuple[Mapping[str, Any], ...]
    parts: Mapping[str, float] = field(default_factory=dict)


class Walkthrough:
    """One agent's application. Open it with `Walkthrough.open`."""

    def __init__(
        self, settings: Settings, token: str, agent: str, model_client: AsyncOpenAI, http: Client
    ) -> None:
        self._settings = settings
        self._authorization = f"Bearer {token}"
        self._agent = agent
        self._model = model_client
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, token: str, agent: str) -> "AsyncIterator[Walkthrough]":
        async with (
            AsyncOpenAI(
                base_url=f"{settings.proxy_endpoint}/v1",
                api_key=token,
                default_headers={"X-IBEX-Agent-ID": agent},
                timeout=_MODEL_LIMIT,
                max_retries=0,
            ) as model_client,
            ClientBuilder().no_proxy().timeout(_CALL_LIMIT).build() as http,
        ):
            yield cls(settings, token, agent, model_client, http)

    async def ask(
        self,
        messages: Sequence[ChatCompletionMessageParam],
        session_id: str | None = None,
        *,
        memory: Literal["on", "read-only", "write-only", "off"] = "on",
    ) -> Answer:
        headers_in: dict[str, str] = {"X-IBEX-Memory": memory}
        if session_id:
            headers_in["X-IBEX-Session-ID"] = session_id
        started = time.perf_counter()
        response = await self._model.chat.completions.with_raw_response.create(
            model=self._settings.default_model,
            messages=list(messages),
            extra_headers=headers_in,
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        completion = response.parse()
        return Answer(
            text=completion.choices[0].message.content or "",
            request_id=headers["x-request-id"],
            session_id=headers["x-ibex-session-id"],
            headers=headers,
            seconds=time.perf_counter() - started,
        )

    async def ask_remembering(
        self, question: str, on_fallback: Callable[[Answer], None], *, tries: int = 3
    ) -> Answer:
        """Ask in a session of its own. Memory never holds an answer up: on a machine that is busy
        starting things, the first answers may come without it, and are told as such."""
        for remaining in reversed(range(tries)):
            answer = await self.ask([{"role": "user", "content": question}])
            if not answer.fell_back or remaining == 0:
                break
            on_fallback(answer)
            await asyncio.sleep(1)
        return answer

    async def converse(self, sayings: Sequence[str], on_turn: Callable[[str, Answer], None]) -> str:
        """Say one thing after the other, resending the whole conversation each time, as clients
        do. The session's id."""
        messages: list[ChatCompletionMessageParam] = []
        session_id: str | None = None
        for saying in sayings:
            messages.append({"role": "user", "content": saying})
            answer = await self.ask(messages, session_id)
            messages.append({"role": "assistant", "content": answer.text})
            session_id = answer.session_id
            on_turn(saying, answer)
        if session_id is None:
            raise ValueError("nothing was said")
        return session_id

    async def complete(self, session_id: str) -> datetime:
        """The moment of completion."""
        url = f"{self._settings.proxy_endpoint}/v1/sessions/{session_id}/complete"
        headers = {"Authorization": self._authorization, "X-IBEX-Agent-ID": self._agent}
        response = await self._http.post(url).headers(headers).build().send()
        if response.status != 200:
            raise WalkthroughError(f"Completing the session was answered with {response.status}.")
        return datetime.now(UTC)

    async def wait_until_learned(
        self, session_id: str, completed: datetime, *, limit: float
    ) -> Learned:
        """Wait until every turn of the session is extracted and its memories can be read.

        `limit` in seconds. Raises WalkthroughError when it passes or the session is given up.
        """
        started = time.monotonic()
        while time.monotonic() - started < limit:
            session = await self.get(f"/sessions/{session_id}")
            job = session.get("extraction") or {}
            if job.get("status") == "dead":
                raise WalkthroughError(
                    f"The session was given up after {job['attempts']} tries: {job['last_error']}."
                )
            if session["last_extracted_turn"] >= session["turn_count"]:
                seconds = (datetime.now(UTC) - completed).total_seconds()
                found = await self.get(f"/agents/{self._agent}/memories?limit=200")
                memories = tuple(
                    memory for memory in found["items"] if memory["session_id"] == session["id"]
                )
                parts = await self._parts(memories, completed)
                return Learned(seconds, memories, parts)
            await asyncio.sleep(_POLL)
        raise WalkthroughError(
            f"The session was not turned into memories within {limit:.0f} s.",
            hint="Look at the runs in Dagster's UI, or 'ibex logs dagster-daemon'.",
        )

    async def injection(self, request_id: str) -> Mapping[str, Any]:
        """What was put into a request: `{memories: [{score, content, …}], tokens, …}`."""
        return await self.get(f"/injections/{request_id}")

    async def get(self, path: str) -> dict[str, Any]:
        """A GET of the management API."""
        url = f"{self._settings.api_endpoint}/api/v1{path}"
        try:
            response = (
                await self._http.get(url)
                .header("Authorization", self._authorization)
                .build()
                .send()
            )
        except PyreqwestError as error:
            raise DependencyError(
                f"The management API does not answer ({type(error).__name__})."
            ) from error
        if response.status != 200:
            resource = path.partition("?")[0]
            raise WalkthroughError(f"The API answered {resource} with {response.status}.")
        body: dict[str, Any] = await response.json()
        return body

    async def _parts(
        self, memories: Sequence[Mapping[str, Any]], completed: datetime
    ) -> dict[str, float]:
        """Seconds from completion to the sensor's run, of its launch and of each asset."""
        run_ids = {memory["run_id"] for memory in memories if memory.get("run_id")}
        if len(run_ids) != 1:
            return {}
        query = """query Parts($id: ID!) { runOrError(runId: $id) { ... on Run {
            creationTime stepStats { stepKey startTime endTime } } } }"""
        response = await (
            self._http.post(f"http://127.0.0.1:{self._settings.dagster_port}/graphql")
            .body_json({"query": query, "variables": {"id": run_ids.pop()}})
            .build()
            .send()
        )
        run = (await response.json()).get("data", {}).get("runOrError") or {}
        steps = [step for step in run.get("stepStats", ()) if step["startTime"]]
        if not steps:
            return {}
        created = float(run["creationTime"])
        launched = min(float(step["startTime"]) for step in steps)
        parts = {
            "until_sensor_s": created - completed.timestamp(),
            "run_launch_s": launched - created,
        }
        parts |= {
            f"{step['stepKey']}_s": float(step["endTime"]) - float(step["startTime"])
            for step in steps
            if step["endTime"]
        }
        return {name: round(max(seconds, 0.0), 2) for name, seconds in parts.items()}
