# The production image: no demo, no shell needed, an unprivileged user.
#
# Written with care and not yet built: there was no container engine where it was written. What it installs
# is what the same build needs on Debian 12, seen there.

FROM rust:1-bookworm AS build
# librdkafka is built from its source (C and C++, make) with OpenSSL and zlib; zstd comes with its crate.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ gcc libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches make a second build quick; the binary is copied out, since a cache is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --no-default-features --bin ftp-pooler \
 && cp target/release/ftp-pooler /ftp-pooler

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner 65532 --group 65532 /data/storage
COPY --from=build /ftp-pooler /usr/local/bin/ftp-pooler

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# config/config.yaml and config/connections.ini are mounted here; the rest may be read-only.
WORKDIR /app
# The API with its page, and Prometheus' own port.
EXPOSE 8080 9090
# SIGTERM: not ready, drain, commit, exit 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ftp-pooler"]
CMD ["run"]
