# The production image: the binary, glibc, OpenSSL and the system's authorities. No demo, no shell, no package
# manager, an unprivileged user, a root file system that may be read-only.
#
#   docker build -t ftp-pooler .                                        for this machine
#   docker buildx build --platform linux/amd64,linux/arm64 -t … --push . for both
#
# Each architecture is built on itself, by a builder of that kind or under emulation: librdkafka's C build
# takes the machine that it finds.

FROM rust:1.89-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# librdkafka is built from its source (C and C++, make) with OpenSSL and zlib; zstd comes with its crate.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ gcc libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Of the builder's platform: each has a cache of its own.
ARG TARGETARCH
# The caches make a second build quick; what is needed is copied out, since a cache is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=ftp-pooler-target-${TARGETARCH} \
    cargo build --release --locked --no-default-features -p ftp-pooler --bin ftp-pooler \
 && install -D --strip target/release/ftp-pooler /out/usr/local/bin/ftp-pooler
# The final image has glibc, libgcc and OpenSSL, but no zlib; what it lacks beyond that is found out here.
RUN install --directory /out/data/storage /out/app /out/usr/local/lib/ftp-pooler \
 && cp "$(ldd /out/usr/local/bin/ftp-pooler | awk '$1 == "libz.so.1" { print $3 }')" /out/usr/local/lib/ftp-pooler/ \
 && ! ldd /out/usr/local/bin/ftp-pooler | awk '{ print $1 }' \
    | grep -vE '^(linux-vdso|/lib|ld-linux|lib(c|m|gcc_s|ssl|crypto|z|pthread|dl|rt)\.so)'

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local /usr/local
# A volume that is first mounted here takes this owner over.
COPY --from=build --chown=65532:65532 /out/data /data
ENV LD_LIBRARY_PATH=/usr/local/lib/ftp-pooler
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
