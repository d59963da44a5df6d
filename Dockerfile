# Trackgate as a container: docker build --tag trackgate .
#
# The base image is pinned by tag; whoever publishes this image pins it by digest as well (FROM python:...@sha256:...),
# with a digest taken from the registry that they trust.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
WORKDIR /build

# The dependencies first, so that a change of the program alone installs nothing else anew.
COPY requirements/uv.txt requirements/runtime.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes --requirement requirements/uv.txt && \
    python -m venv --without-pip /opt/trackgate && \
    python -m uv pip install --python /opt/trackgate/bin/python --require-hashes --requirement requirements/runtime.txt

COPY LICENSE README.md pyproject.toml ./
COPY src src
RUN python -m uv build --wheel --out-dir dist . && \
    python -m uv pip install --python /opt/trackgate/bin/python --no-deps dist/trackgate-*.whl


FROM python:3.13-slim-trixie

# Nothing is written outside /data, so the root file system may be read-only: bytecode was compiled above.
ENV PATH=/opt/trackgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRACKGATE_CONFIG=/etc/trackgate/routes.toml \
    TRACKGATE_DATA=/data \
    TRACKGATE_LISTEN=0.0.0.0:8080

# A number, since Kubernetes cannot see that a named user is not root. The folder gives a new volume its owner.
RUN install -d -m 0700 -o 65532 -g 65532 /data
COPY --from=build /opt/trackgate /opt/trackgate

# The base image leaves the standard library's bytecode out. Without it every start, and every health check, would compile
# some 190 modules anew: half a second of a processor. `--help` imports every command, and so compiles what they import.
RUN PYTHONDONTWRITEBYTECODE='' trackgate --help > /dev/null

# The shipped file has sources without keys, which are for loopback alone: on 0.0.0.0 `serve` refuses it and says both
# ways out. Mount your own in its place (deploy/routes.toml is one), or listen on 127.0.0.1 in the network of one app.
COPY routes.toml /etc/trackgate/routes.toml

USER 65532:65532
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["trackgate", "health"]
ENTRYPOINT ["trackgate"]
CMD ["serve"]
