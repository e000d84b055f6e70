#!/bin/sh
# Generates the Go of event.proto, session/session.proto and orbit/orbit.proto, with the plug-ins pinned in go.mod and
# Debian's protoc.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc \
	github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto
module=github.com/orb8-dev/kubectl-orb8/event
PATH=$bin:$PATH protoc -I . --go_out=. --go_opt=module=$module --go-vtproto_out=. \
	--go-vtproto_opt=module=$module,features=marshal+size event.proto
PATH=$bin:$PATH protoc -I . --go_out=. --go_opt=module=$module --go-grpc_out=. --go-grpc_opt=module=$module \
	session/session.proto orbit/orbit.proto
