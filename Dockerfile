# One image for `xapi-elt worker --transform` and `xapi-elt transform`, with a ClickHouse server. The
# embedded engine is not in it: a database inside a container ends with it.
FROM python:3.11-slim-bookworm

WORKDIR /opt/xapi-elt
RUN python -m venv .venv
COPY docs/deploy/image.lock docs/deploy/image.lock
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
    --requirement docs/deploy/image.lock
COPY . .
# In editable mode, so that dbt finds the project; setuptools is in the lock.
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
    --no-build-isolation --config-settings editable_mode=compat --editable . \
    && useradd --system --uid 10001 --home-dir /var/lib/xapi-elt --create-home xapi-elt

ENV PATH=/opt/xapi-elt/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XAPI_HOME=/opt/xapi-elt \
    XAPI_TARGET=server \
    DBT_TARGET_PATH=/var/lib/xapi-elt/target \
    DBT_LOG_PATH=/var/lib/xapi-elt/logs
USER 10001
EXPOSE 9464
# Signals reach the supervisor; no shell is in between.
ENTRYPOINT ["xapi-elt"]
CMD ["worker", "--transform", "--metrics-port", "9464", "--json"]
