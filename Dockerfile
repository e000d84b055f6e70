# Packs the files that `make tracer` built for each platform. It fetches nothing, so there is no base image or package
# to pin.
#   make tracer GOARCH=amd64 && make tracer GOARCH=arm64
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/orb8-tracer:VERSION --push .
FROM scratch
ARG TARGETARCH
COPY bin/linux-${TARGETARCH}/root /
ENV PATH=/
ENTRYPOINT ["/orb8-tracer"]
