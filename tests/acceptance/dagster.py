"""A running Dagster as its UI uses it: by GraphQL."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyreqwest.client import Client

_LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_AGAIN = """mutation Again($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_RUN = """query Run($id: ID!) { runOrError(runId: $id) { ... on Run {
  status parentRunId stepStats { stepKey status }
  assetMaterializations { assetKey { path } metadataEntries { label } } } } }"""
_LOCATIONS = """{ repositoriesOrError { ... on RepositoryConnection {
  nodes { name location { name } } } } }"""
_OVER = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True)
class FinishedRun:
    id: str
    status: str
    parent: str | None
    steps: Mapping[str, str]  # what became of each, by its name
    metadata: Mapping[str, frozenset[str]]  # what is told of each asset that was made


class Dagster:
    def __init__(self, http: Client, url: str) -> None:
        self._http = http
        self._url = f"{url}/graphql"

    async def run(
        self,
        job: str,
        *,
        assets: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> FinishedRun:
        """Start a job, or some of its assets, and wait for its end."""
        selector = await self._repository() | {"jobName": job}
        if assets is not None:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        params = {"selector": selector, "runConfigData": config or {}}
        answer = await self._ask(_LAUNCH, {"params": params})
        return await self._end_of(answer["launchRun"])

    async def run_again(self, run_id: str) -> FinishedRun:
        """'Re-execute from failure'."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        answer = await self._ask(_AGAIN, {"params": params})
        return await self._end_of(answer["launchRunReexecution"])

    async def _end_of(self, launched: Mapping[str, Any]) -> FinishedRun:
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        async with asyncio.timeout(240):
            while True:
                run = (await self._ask(_RUN, {"id": run_id}))["runOrError"]
                if run["status"] in _OVER:
                    break
                await asyncio.sleep(0.2)
        return FinishedRun(
            run_id,
            run["status"],
            run["parentRunId"],
            {step["stepKey"]: step["status"] for step in run["stepStats"]},
            {
                made["assetKey"]["path"][-1]: frozenset(
                    entry["label"] for entry in made["metadataEntries"]
                )
                for made in run["assetMaterializations"]
            },
        )

    async def _repository(self) -> dict[str, Any]:
        (node,) = (await self._ask(_LOCATIONS, {}))["repositoriesOrError"]["nodes"]
        return {
            "repositoryName": node["name"],
            "repositoryLocationName": node["location"]["name"],
        }

    async def _ask(self, query: str, variables: Mapping[str, Any]) -> Any:
        body = {"query": query, "variables": variables}
        response = await self._http.post(self._url).body_json(body).build().send()
        answer = await response.json()
        assert not answer.get("errors"), answer["errors"]
        return answer["data"]
