# The tracer's image for ordinary builders: docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=… .
# The files come from the same make target as in `make image`, cross-compiled on the builder's own architecture.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETARCH VERSION
# What reads GPUs loads a driver's library: it is the one part with cgo.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-x86-64-linux-gnu libc6-dev-amd64-cross
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make tracer GO=go GOOS=linux GOARCH=$TARGETARCH ${VERSION:+VERSION=$VERSION} && cp -r bin/linux-$TARGETARCH/root /root-of-image

FROM scratch
COPY --from=build /root-of-image /
ENV PATH=/
ENTRYPOINT ["/orb8-tracer"]
