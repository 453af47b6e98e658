# millrace for NVIDIA's GPUs (docs/containers.md):
#
#   docker build -f scripts/containers/cuda.Dockerfile -t millrace:cuda .
ARG DEBIAN=debian:12.12-slim

# Rarely changing parts come first: compilers, libraries, sources.
FROM ${DEBIAN} AS toolchain
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG CUDA=13-0
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && curl -fsSL -o /tmp/keyring.deb https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/cuda-keyring_1.1-1_all.deb \
 && dpkg -i /tmp/keyring.deb \
 && apt-get update \
 && apt-get install -y --no-install-recommends "cuda-nvcc-$CUDA" "cuda-libraries-dev-$CUDA" "cuda-profiler-api-$CUDA" \
 && rm -rf /tmp/keyring.deb /var/lib/apt/lists/*
ENV PATH=/usr/local/cuda/bin:$PATH

FROM toolchain AS build
WORKDIR /opt/millrace
COPY scripts/setup.sh scripts/packages.txt scripts/requirements.txt scripts/requirements-gpu.txt scripts/
RUN scripts/setup.sh --gpu && rm -rf /var/lib/apt/lists/*
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY cmake cmake
COPY src src
COPY apps apps
COPY scripts scripts
COPY configs configs
RUN --mount=type=cache,target=/root/.cache/ccache scripts/build.sh release millrace && scripts/containers/install_tree.sh /image

FROM ${DEBIAN}
COPY --from=build /image/packages /tmp/packages
# hadolint ignore=DL3008
RUN apt-get update \
 && xargs -a /tmp/packages apt-get install -y --no-install-recommends \
 && rm -rf /tmp/packages /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 millrace \
 && mkdir -p /dataset /models /logdir /workspace/flux \
 && chown millrace /dataset /models /logdir /workspace/flux
COPY --from=build /image/root/ /
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    DATAROOT=/dataset \
    MODELROOT=/models \
    LOGDIR=/logdir
USER 1000
WORKDIR /workspace/flux
CMD ["millrace", "--help"]
