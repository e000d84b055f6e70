# The tracer's image for ordinary builders: docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=… .
# The binary comes from the same make target as in `make image`, cross-compiled on the builder's own architecture.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETARCH VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make tracer GO=go GOOS=linux GOARCH=$TARGETARCH ${VERSION:+VERSION=$VERSION} && cp bin/linux-$TARGETARCH/orb8-tracer /orb8-tracer

FROM scratch
COPY --from=build /orb8-tracer /orb8-tracer
ENV PATH=/
ENTRYPOINT ["/orb8-tracer"]
