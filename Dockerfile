# The production image: the binary, glibc, OpenSSL and the system's authorities. No demo, no shell, no package
# manager, an unprivileged user, a root file system that may be read-only.
#
#   docker build -t ftp-pooler .                                        for this machine
#   docker buildx build --platform linux/amd64,linux/arm64 -t … --push . for both
#
# BuildKit is needed (RUN --mount): docker 23 and later have it with the plugin buildx; with an older one, such as Debian's
# 20.10, set DOCKER_BUILDKIT=1.
#
# Each architecture is built on itself, by a builder of that kind or under emulation: librdkafka's C build
# takes the machine that it finds.

# frpc, which carries tunnels (`via` in connections.ini); its web pages are not in the module, hence `noweb`.
FROM golang:1.25-bookworm AS frp
ARG FRP=github.com/fatedier/frp@v0.71.0
ARG FRP_SUM=h1:hrzMepFp/asl2oAxxLMgffCI/wrzvg6lZyMzxEEnWbQ=
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN answer=$(go mod download -json "$FRP") \
 && grep -qF "\"Sum\": \"$FRP_SUM\"" <<<"$answer" \
 && directory=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer") \
 && CGO_ENABLED=0 go build -C "$directory" -trimpath -ldflags='-s -w' -tags frpc,noweb -o /out/frpc ./cmd/frpc

FROM rust:1.89-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# librdkafka is built from its source (C and C++, make) with OpenSSL; zlib and zstd come with their crates.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ gcc libssl-dev make pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Of the builder's platform: each has a cache of its own.
ARG TARGETARCH
# The caches make a second build quick; what is needed is copied out, since a cache is no part of the image. cargo-auditable
# writes the list of all crates into each binary, where scanners (Trivy, Grype, Syft, `cargo audit bin`) find it. Cargo goes by
# the files' times, and would take what a later commit left in the cache for this one's: so all are of this moment.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=ftp-pooler-target-${TARGETARCH} \
    find . -path ./target -prune -o -type f -exec touch {} + \
 && cargo install --locked --version 0.7.7 --root /opt/cargo cargo-auditable \
 && PATH="/opt/cargo/bin:$PATH" cargo auditable build --release --locked --no-default-features \
        -p ftp-pooler --bin ftp-pooler -p frp-tunnels --bin frp-tunnels --features frp-tunnels/operator \
 && install -D --strip target/release/ftp-pooler /out/usr/local/bin/ftp-pooler \
 && install -D --strip target/release/frp-tunnels /out/usr/local/bin/frp-tunnels \
 && PATH="/opt/cargo/bin:$PATH" cargo auditable build --profile router --locked -p pattern-router --bin pattern-router \
 && install -D --strip target/router/pattern-router /out/usr/local/bin/pattern-router
# The final image has glibc, libgcc and OpenSSL; that nothing else is needed is found out here.
RUN install --directory /out/data/storage /out/app \
 && for program in /out/usr/local/bin/*; do \
        ! ldd "$program" | awk '{ print $1 }' \
            | grep -vE '^(linux-vdso|/lib|ld-linux|lib(c|m|gcc_s|ssl|crypto|pthread|dl|rt)\.so)' || exit; \
    done

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local /usr/local
COPY --from=frp /out/frpc /usr/local/bin/
# A volume that is first mounted here takes this owner over.
COPY --from=build --chown=65532:65532 /out/data /data
# The commit: `docker build --build-arg REVISION=$(git rev-parse HEAD) …`.
ARG REVISION=unknown
# Where this source is published: whoever publishes the image passes it.
ARG SOURCE=
LABEL org.opencontainers.image.title="FTP Pooler" \
      org.opencontainers.image.description="Moves files between FTP servers and local storage at scale: a pool of workers driven by Kafka" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# config/config.yaml and config/connections.ini are mounted here.
WORKDIR /app
# The API with its page, and Prometheus' own port.
EXPOSE 8080 9090
# Where the configuration puts the API; Kubernetes has probes instead.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/ftp-pooler", "health"]
# SIGTERM: not ready, drain, commit, exit 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ftp-pooler"]
CMD ["run"]
