# Packs the files that `make agent` (which includes `make tracer`) built for each platform. It fetches nothing, so there
# is no base image or package to pin.
#   make agent GOARCH=amd64 && make agent GOARCH=arm64
#   docker buildx build --platform linux/amd64,linux/arm64 --target orb8 --tag REGISTRY/orb8:VERSION --push .
#   docker buildx build --platform linux/amd64,linux/arm64 --target tracer --tag REGISTRY/orb8-tracer:VERSION --push .
FROM scratch AS orb8
ARG TARGETARCH
COPY bin/linux-${TARGETARCH}/agent-root /
ENV PATH=/
ENTRYPOINT ["/orb8-agent"]

FROM scratch AS tracer
ARG TARGETARCH
COPY bin/linux-${TARGETARCH}/root /
ENV PATH=/
ENTRYPOINT ["/orb8-tracer"]
