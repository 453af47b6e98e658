# millrace for AMD's GPUs (docs/containers.md, docs/amd.md):
#
#   docker build -f scripts/containers/rocm.Dockerfile -t millrace:rocm .
ARG DEBIAN=debian:12.12-slim
ARG ROCM=7.2

# Rarely changing parts come first: compilers, libraries, sources.
FROM ${DEBIAN} AS toolchain
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG ROCM
# AMD's packages for Debian 12 are those for Ubuntu 22.04. The compiler, and the headers that those of libtorch include.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl gpg \
 && curl -fsSL https://repo.radeon.com/rocm/rocm.gpg.key | gpg --dearmor -o /usr/share/keyrings/rocm.gpg \
 && echo "deb [arch=amd64 signed-by=/usr/share/keyrings/rocm.gpg] https://repo.radeon.com/rocm/apt/$ROCM jammy main" > /etc/apt/sources.list.d/rocm.list \
 && printf 'Package: *\nPin: release o=repo.radeon.com\nPin-Priority: 600\n' > /etc/apt/preferences.d/rocm \
 && apt-get update \
 && apt-get install -y --no-install-recommends hipcc hip-dev rccl-dev hipblas-dev hipblaslt-dev hipsparse-dev hipsolver-dev \
 && rm -rf /var/lib/apt/lists/*
ENV ROCM_PATH=/opt/rocm \
    PATH=/opt/rocm/bin:$PATH

FROM toolchain AS build
ARG ROCM
ARG TORCH_INDEX=https://download.pytorch.org/whl/rocm${ROCM}
WORKDIR /opt/millrace
COPY scripts/setup.sh scripts/packages.txt scripts/requirements.txt scripts/
RUN scripts/setup.sh --rocm "$TORCH_INDEX" && rm -rf /var/lib/apt/lists/*
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
 && useradd --create-home --uid 1000 --groups video millrace \
 && mkdir -p /dataset /models /logdir /workspace/flux \
 && chown millrace /dataset /models /logdir /workspace/flux
COPY --from=build /image/root/ /
ENV DATAROOT=/dataset \
    MODELROOT=/models \
    LOGDIR=/logdir \
    HSA_FORCE_FINE_GRAIN_PCIE=1
USER 1000
WORKDIR /workspace/flux
CMD ["millrace", "--help"]
