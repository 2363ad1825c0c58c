# The image of Magnesium CDS: Python, the locked dependencies and the service, and nothing else: no shell, no package
# manager. It runs as 10001, on a read-only root file system, without any capability.
#
#   deploy/build-image.sh                     builds it on Debian without a registry
#   docker build --build-arg BASE_IMAGE=… .   builds it on a base of your own: a Debian with Python 3.11 or newer
#
# The labels are build arguments too: VERSION, REVISION (of the source), SOURCE (its address), BASE_DIGEST.
ARG BASE_IMAGE=docker.io/library/python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${BASE_IMAGE} AS build
# Behind a proxy that re-signs TLS: mount the authority and name it. Neither of the two reaches the final image.
ARG PIP_CERT=
ARG PIP_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /build
# A folder `wheelhouse` beside this file (pip download -d wheelhouse …) replaces the package index.
COPY requirements.lock deploy/sbom.lock wheelhous[e] ./
RUN if ls ./*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/build; fi \
 && install() { python3 -m venv "$1" && "$1/bin/python" -m pip install -q --no-cache-dir --no-compile \
      --require-hashes --only-binary :all: -r "$2"; } \
 && install /app/venv requirements.lock && install /build/sbom sbom.lock \
 && /app/venv/bin/python -m pip uninstall -q -y setuptools pip \
 && find /app/venv/bin -mindepth 1 ! -name 'python*' -delete
COPY pyproject.toml deploy/runtime_root.py deploy/complete_sbom.py ./
RUN python3 runtime_root.py /root-fs
RUN sbom/bin/python -m cyclonedx_py environment --output-reproducible \
      --pyproject pyproject.toml --output-file sbom.json /app/venv \
 && /app/venv/bin/python complete_sbom.py sbom.json /root-fs \
 && sbom/bin/python -c "from cyclonedx.schema import SchemaVersion as version; from cyclonedx.validation import json; \
      wrong = json.JsonStrictValidator(version.V1_6).validate_str(open('sbom.json').read()); exit(wrong and repr(wrong))" \
 && cp sbom.json /app/sbom.cdx.json
COPY NOTICE LICENSE openapi.yaml /app/
COPY service /app/service
# The documentation, where `make site` has built it.
COPY build/sit[e] /app/build/site/
# Byte code is stamped by content, not by time: the same input gives the same image, and nothing is compiled at start.
RUN find /app -name __pycache__ -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /app \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /root-fs /root-fs \
 && chmod -R a+rX,go-w /app

# /dev/shm is writable whatever the root file system is: gunicorn keeps the heartbeat of its worker there.
FROM scratch
ARG VERSION=
ARG REVISION=
ARG SOURCE=
ARG BASE_IMAGE
ARG BASE_DIGEST=
LABEL org.opencontainers.image.title="Magnesium CDS" \
      org.opencontainers.image.description="Clinical decision support for magnesium disorders over CDS Hooks and REST" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
COPY --from=build /root-fs /
COPY --from=build /app /app
ENV MAGNESIUM_CDS_MODE=production MAGNESIUM_CDS_SITE=/etc/magnesium-cds/site.toml HOST=0.0.0.0 PORT=8000 \
    TMPDIR=/dev/shm LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 CMD ["/app/venv/bin/python", "-c", \
  "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=4)"]
ENTRYPOINT ["/app/venv/bin/python", "-m", "service"]
CMD ["serve"]
