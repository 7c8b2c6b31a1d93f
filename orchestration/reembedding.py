"""Another embedding model's vectors for all memories, as a job that is started by hand."""

from dagster import Config, OpExecutionContext, RetryPolicy, job, op
from pydantic import Field

from assets.stores import Stores
from ibex.reembedding import Reembedded, Reembedding, embedder_of
from ibex.stores.embeddings import EmbeddingStore

_STEPS = 20  # lines in the run's log


class Wanted(Config):
    model: str = Field(default="", description="Default: the model that is served.")


@op(required_resource_keys={"stores"}, retry_policy=RetryPolicy(max_retries=3, delay=30))
def make_embeddings(context: OpExecutionContext, config: Wanted) -> None:
    """The vectors that are missing; a try goes on where the one before stopped."""
    stores: Stores = context.resources.stores
    model = config.model or stores.settings.embedding_model
    told = 0

    def watch(done: int, total: int) -> None:
        nonlocal told
        if done * _STEPS // total > told:
            told = done * _STEPS // total
            context.log.info(f"{done:,} of {total:,} memories")

    async def work() -> Reembedded:
        store = EmbeddingStore(stores.database)
        async with embedder_of(stores.settings, model) as embedder:
            return await Reembedding(store).run(
                await store.organizations(),
                model,
                embedder,
                served=model == stores.settings.embedding_model,
                watch=watch,
            )

    done = stores.wait(work())
    context.add_output_metadata(
        {
            "model": model,
            "memories": done.memories,
            "made": done.made,
            "exchanged": done.exchanged,
        }
    )


@job(description="Makes an embedding model's vectors for all memories that have none.")
def reembed() -> None:
    make_embeddings()
