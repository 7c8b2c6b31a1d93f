# One image for every process of IBEX; docker-compose.yml says which command each runs.
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
COPY requirements.lock ./
# The processor's build of PyTorch: the general one brings gigabytes of CUDA.
RUN uv venv /opt/venv \
 && uv pip install --no-cache --python /opt/venv/bin/python --torch-backend=cpu -r requirements.lock
COPY pyproject.toml README.md workspace.yaml ./
COPY ibex ibex
COPY hotpath hotpath
COPY assets assets
COPY orchestration orchestration
COPY api api
COPY dashboard dashboard
COPY migrations migrations
RUN uv pip install --no-cache --python /opt/venv/bin/python --no-deps --editable . \
 # The embedding model as ONNX, so that no container has to export it.
 && IBEX_HOME=/tmp/ibex /opt/venv/bin/python -m hotpath.embedder.export

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home ibex \
 && install -d -o ibex -g ibex /var/lib/ibex /var/lib/dagster
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY --chown=ibex:ibex orchestration/dagster.yaml /var/lib/dagster/dagster.yaml
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    DAGSTER_HOME=/var/lib/dagster \
    IBEX_HOME=/var/lib/ibex \
    IBEX_HOST=0.0.0.0
WORKDIR /app
USER ibex
CMD ["ibex", "--help"]
