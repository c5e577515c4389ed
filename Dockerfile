# The one executable in an image of its own. The build stage needs only Rust and a C compiler.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && mkdir /holdpoint-data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/holdpoint /usr/local/bin/holdpoint
COPY --from=build --chown=65532:65532 /holdpoint-data /var/lib/holdpoint
USER 65532:65532
ENV HOLDPOINT_DATA_DIR=/var/lib/holdpoint
VOLUME /var/lib/holdpoint
EXPOSE 4317 4318 7070 7070/udp 7080
HEALTHCHECK --interval=5s --timeout=3s CMD ["holdpoint", "healthcheck"]
ENTRYPOINT ["holdpoint"]
CMD ["up"]
