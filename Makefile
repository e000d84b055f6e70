SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

# One version for all that is built together: the plugin asks for the tracer image of its own version.
VERSION ?=
ifeq ($(VERSION),)
override VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.0.0-dev)
endif
MODULE := github.com/orb8-dev/kubectl-orb8
GO ?= hack/go
# The plugin is built for this machine's system, all else for Linux; GOOS= selects another one.
HOSTOS := $(shell uname -s | sed -e s/Linux/linux/ -e s/Darwin/darwin/ -e 's/^M[IS].*/windows/')
PLUGIN_OS := $(or $(GOOS),$(HOSTOS))
GOOS ?= linux
HOSTARCH := $(shell uname -m | sed -e s/x86_64/amd64/ -e s/aarch64/arm64/)
GOARCH ?= $(HOSTARCH)
# A release names its images, which are pushed first, by their digests: TRACER_DIGEST=sha256:... that of tracers, and
# IMAGE_DIGEST that of agents and servers.
TRACER_DIGEST ?=
IMAGE_DIGEST ?=
define check-digest
ifneq ($($(1)),)
ifeq ($$(shell grep -Ex 'sha256:[0-9a-f]{64}' <<<'$($(1))'),)
$$(error $(1) is "$($(1))": want sha256: and 64 hexadecimal digits)
endif
endif
endef
$(foreach name,TRACER_DIGEST IMAGE_DIGEST,$(eval $(call check-digest,$(name))))
LDFLAGS := -s -w -X $(MODULE)/internal/version.version=$(VERSION) \
	-X $(MODULE)/internal/version.tracerDigest=$(TRACER_DIGEST) \
	-X $(MODULE)/internal/version.imageDigest=$(IMAGE_DIGEST)
# orb8-nvml loads the driver's library: it is built with cgo, by a compiler for its platform.
NVML_CC = $(if $(filter $(HOSTARCH),$(GOARCH)),gcc,$(if $(filter arm64,$(GOARCH)),aarch64,x86_64)-linux-gnu-gcc)
# gRPC has pages for net/http that nobody serves here. Their templates call methods by name, and then the linker keeps
# all exported methods: 29 MB of the plugin's 74.
TAGS = grpcnotrace
GOBUILD = CGO_ENABLED=0 GOOS=$(GOOS) GOARCH=$(GOARCH) $(GO) build -trimpath -buildvcs=false -tags $(TAGS) \
	-ldflags '$(LDFLAGS)'

BIN := bin
# Binaries that go into images are kept apart by platform.
PLATFORM_BIN = $(BIN)/$(GOOS)-$(GOARCH)
DIST := dist
TRACER_IMAGE = $(DIST)/orb8-tracer-$(GOARCH).tar
AGENT_IMAGE = $(DIST)/orb8-$(GOARCH).tar
AGENT_REF = ghcr.io/orb8-dev/orb8:$(VERSION)
WORKLOAD_IMAGE = $(DIST)/workload-$(GOARCH).tar
WORKLOAD_REF := orb8.dev/e2e/workload:dev

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

##
.PHONY: build
build: GOOS = $(PLUGIN_OS)
build: ## Build the plugin into bin/
	@mkdir -p $(BIN)
	@$(GOBUILD) -o $(BIN)/ ./cmd/kubectl-orb8

.PHONY: size
size: build ## Check the size of the plugin; name the modules that grew (UPDATE=1 keeps the new sizes)
	@hack/size.sh $(if $(UPDATE),-update)

.PHONY: tracer
tracer: ## Build the tracer and the other files of its image into bin/OS-ARCH/
	@mkdir -p $(PLATFORM_BIN)
	@$(GOBUILD) -o $(PLATFORM_BIN)/ ./cmd/orb8-tracer
	@CC=$(NVML_CC) CGO_CFLAGS='-O2 -Wno-deprecated-declarations' $(subst CGO_ENABLED=0,CGO_ENABLED=1,$(GOBUILD)) \
		-o $(PLATFORM_BIN)/ ./cmd/orb8-nvml
	@CC=$(NVML_CC) hack/image-root.sh $(PLATFORM_BIN)/root $(PLATFORM_BIN)/orb8-nvml $(PLATFORM_BIN)/orb8-tracer

.PHONY: agent
agent: tracer ## Build the agent, the server and the other files of their image into bin/OS-ARCH/
	@$(GOBUILD) -o $(PLATFORM_BIN)/ ./cmd/orb8-agent ./cmd/orb8-server
	@CC=$(NVML_CC) hack/image-root.sh $(PLATFORM_BIN)/agent-root $(PLATFORM_BIN)/orb8-nvml \
		$(PLATFORM_BIN)/orb8-agent $(PLATFORM_BIN)/orb8-server

.PHONY: image
image: tracer ## Write the tracer's docker archive; the last line is its path
	@mkdir -p $(DIST)
	@GOARCH= $(GO) run -ldflags '$(LDFLAGS)' ./e2e/image -arch $(GOARCH) -tracer $(PLATFORM_BIN)/root -o $(TRACER_IMAGE)
	@echo $(CURDIR)/$(TRACER_IMAGE)

.PHONY: agent-image
agent-image: agent ## Write the docker archive of agents and servers; the last line is its path
	@mkdir -p $(DIST)
	@GOARCH= $(GO) run -ldflags '$(LDFLAGS)' ./e2e/image -arch $(GOARCH) -ref $(AGENT_REF) \
		-root $(PLATFORM_BIN)/agent-root -o $(AGENT_IMAGE) orb8-agent
	@echo $(CURDIR)/$(AGENT_IMAGE)

.PHONY: workload-image
workload-image: ## Write the test workload's docker archive; the last line is its path
	@mkdir -p $(DIST) $(PLATFORM_BIN)
	@$(GOBUILD) -o $(PLATFORM_BIN)/ ./e2e/workload
	@GOARCH= $(GO) run ./e2e/image -arch $(GOARCH) -ref $(WORKLOAD_REF) -o $(WORKLOAD_IMAGE) $(PLATFORM_BIN)/workload
	@echo $(CURDIR)/$(WORKLOAD_IMAGE)

.PHONY: images
images: image agent-image workload-image ## Write all archives

.PHONY: generate
generate: ## Compile the BPF programs and the protobuf files (clang 19, protoc); write the Helm chart
	@PATH="$$(hack/install-go.sh):$$PATH" $(GO) generate ./...

.PHONY: verify-generated
verify-generated: generate ## Generate the files anew; fail if one differs from what is committed
	@git diff --exit-code --stat -- '*.o' '*_bpfel.go' '*_bpfeb.go' '*.pb.go' docs deploy/chart && \
		! git ls-files --others --exclude-standard -- docs deploy/chart | grep . || \
		{ echo 'run make generate and commit the result' >&2; exit 1; }

.PHONY: install-deps
install-deps: ## Install the Debian or Ubuntu packages that tests and generation need
	@e2e/install-deps.sh

##
.PHONY: lint
lint: ## Vet, format and lint; type-check the plugin for macOS and Windows
	@hack/lint.sh

.PHONY: test
test: ## Run every test: unit, race, BPF as root, other kernels, end to end on a real cluster
test: install-deps
	@hack/test-all.sh "$(MAKE)"

.PHONY: test-unit
ifeq ($(HOSTOS),linux)
test-unit: ## Run the tests that need neither root nor a cluster, with the race detector; elsewhere the plugin's
	@hack/test.sh --rerun -race -parallel 8 -timeout 30m \
		$$($(GO) list ./... | sed 's|^$(MODULE)|.|' | grep -vE '^./(bpf|e2e)(/|$$)') \
		./e2e/aptimage/... ./e2e/console/... ./e2e/image/... ./e2e/workload/... ./e2e/bench/... ./e2e/fleet/... \
		./e2e/kernels/... ./e2e/faults
else
test-unit:
	@echo "note: this is $(HOSTOS): the tests of the plugin's packages run; agents, servers and probes need Linux"
	@$(GO) test -timeout 30m $$($(GO) list -deps ./cmd/kubectl-orb8 | grep '^$(MODULE)/')
endif

.PHONY: test-bpf
test-bpf: ## Run the tests of the BPF programs (root)
	@hack/test.sh --rerun -race -count=1 -p 1 ./bpf/... ./e2e/gpucheck ./e2e/kit

.PHONY: test-e2e
test-e2e: build images ## Run the end-to-end tests on a two-node cluster, started where none is up (root)
	@hack/with-cluster.sh hack/test.sh --rerun -count=1 -parallel 3 -timeout 45m ./e2e \
		$(if $(RUN),-run '$(RUN)') $(if $(SKIP),-skip '$(SKIP)')

.PHONY: test-persistent
test-persistent: ## Run the part of test-e2e that is about persistent mode (root)
	@$(MAKE) test-e2e RUN='^TestPersistent'

.PHONY: test-sessions
test-sessions: ## Run the rest of test-e2e (root)
	@$(MAKE) test-e2e SKIP='^TestPersistent'

# What differs most between versions of Kubernetes: Jobs, admission, rights, port-forward, installation.
OLDEST = ^Test(GroundTruth|Session_LeavesNothing|Doctor_.*|Rights_.*|Environments_.*|PersistentMode)$$
.PHONY: test-e2e-oldest
test-e2e-oldest: ## Run a part of test-e2e on Kubernetes 1.30, which is built the first time (root)
	@ORB8_E2E_KUBERNETES=1.30 ORB8_CLUSTER_NAME=orb8old ORB8_CLUSTER_NET=214 \
		$(MAKE) test-e2e RUN='$(or $(RUN),$(OLDEST))'

.PHONY: test-stores
test-stores: ## Send events to a real collector and a real store, which are built the first time
	@ORB8_E2E_STORES=1 hack/test.sh --rerun -count=1 -timeout 30m ./e2e/stores

.PHONY: test-prometheus
test-prometheus: ## Evaluate dashboards and alerts on a real Prometheus, which is built the first time
	@cd e2e/stores/prometheus && CGO_ENABLED=0 GOFLAGS=-mod=readonly ../../../$(GO) test -trimpath -timeout 30m ./...
	@ORB8_E2E_STORES=1 hack/test.sh --rerun -count=1 -timeout 30m ./e2e/stores -run '^Test(Prometheus|Alerts)_'

.PHONY: test-faults
test-faults: ## Run the tests of persistent mode with faults that last as long as they may in reality
	@ORB8_E2E_LONG=1 $(MAKE) test-e2e RUN='^TestPersistentMode$$'

.PHONY: test-kernels
test-kernels: ## Try every probe on other kernels, in virtual machines; UPDATE=1 writes docs/KERNELS.md
	@ORB8_E2E_KERNELS=1 \
		hack/test.sh $(if $(UPDATE),,--rerun) -count=1 -timeout 60m ./e2e/kernels $(if $(UPDATE),-args -update)

.PHONY: test-cluster
test-cluster: ## Test the test bed: `up` and `down` leave nothing behind (root)
	@ORB8_E2E_CLUSTER_TEST=1 hack/test.sh --rerun -count=1 -timeout 20m ./e2e/cluster/...

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (20s)
	@hack/fuzz.sh $(or $(FUZZTIME),20s)

.PHONY: bench
bench: build images ## Measure, and write the numbers of docs/BENCHMARKS.md; RUN=PATTERN writes none (root)
	@ORB8_BENCH=$(if $(RUN),,$(CURDIR)/docs/BENCHMARKS.md) hack/with-cluster.sh \
		$(GO) test -tags bench -count=1 -v -timeout 60m ./e2e/bench $(if $(RUN),-run '$(RUN)')

.PHONY: bench-scale
bench-scale: TAGS := $(TAGS),bench
bench-scale: ## Measure a server of 1,000 fake agents; the machine must be idle (ARGS='-agents 200 -only healthy')
	@mkdir -p $(PLATFORM_BIN)
	@$(GOBUILD) -o $(PLATFORM_BIN)/orb8-server-bench ./cmd/orb8-server
	@$(GOBUILD) -o $(PLATFORM_BIN)/fleet ./e2e/fleet
	@$(PLATFORM_BIN)/fleet -server $(PLATFORM_BIN)/orb8-server-bench $(ARGS)

##
# A version that sorts before all releases. "g" keeps a number with a leading zero out of it.
SNAPSHOT = v0.0.0-g$(shell git rev-parse --short=12 HEAD)
.PHONY: release-snapshot
release-snapshot: ## Build the files of a release into dist/release, without publishing any
	@MAKE="$(MAKE)" hack/release.sh $(SNAPSHOT)

.PHONY: test-krew
test-krew: ## Install what release-snapshot has built by the real krew and kubectl, from an index in an empty home
	@ORB8_RELEASE=$(CURDIR)/dist/release ORB8_KREW="$$(hack/krew.sh)" \
		$(GO) test -count=1 -run '^TestKrew_' -v ./hack/release

.PHONY: test-completion
test-completion: ## Press Tab in real shells: bash, zsh and fish complete kubectl orb8 through the real kubectl
	@ORB8_TEST_SHELLS=1 hack/test.sh -count=1 -run '^TestShells_' ./plugin

##
.PHONY: gpu-check
gpu-check: tracer ## Check the GPU probes on this machine's GPU (root; NVML_LIBRARY=, CUDA_LIBRARY=, PYTHON=)
	@gcc -O2 -o $(PLATFORM_BIN)/gpucheck-work e2e/gpucheck/workload/gpu.c -ldl
	@$(GO) run ./e2e/gpucheck -child $(PLATFORM_BIN)/orb8-nvml -work $(PLATFORM_BIN)/gpucheck-work \
		$(if $(PYTHON),-python $(PYTHON) -train e2e/gpucheck/workload/train.py) \
		$(if $(NVML_LIBRARY),-nvml-library $(NVML_LIBRARY)) $(if $(CUDA_LIBRARY),-cuda-library $(CUDA_LIBRARY))

.PHONY: driver-check
driver-check: ## Run the tests that need NVIDIA's libraries but no GPU; fetch them from Debian's non-free (root)
	@ORB8_NVIDIA_DRIVER="$$(hack/nvidia-driver.sh)" hack/test.sh -count=1 -run NVIDIA ./tracer/gpu/nvml ./bpf/cuda

.PHONY: demo
demo: ## Trace a small application on a real cluster, from nothing to named flows and back
demo: install-deps build image workload-image
	@hack/with-cluster.sh hack/demo.sh

.PHONY: pictures
pictures: ## Make the pictures in docs/pictures from the real program in a real terminal
pictures: install-deps build image workload-image
	@hack/with-cluster.sh hack/pictures.sh

.PHONY: cluster-up
cluster-up: install-deps ## Start the two-node cluster; the last line is its kubeconfig
	@$(GO) run ./e2e/cluster up

.PHONY: cluster-down
cluster-down: ## Stop the cluster and leave nothing behind
	@$(GO) run ./e2e/cluster down

##
.PHONY: magic
magic: ## Build, test and install: on this machine if it is Linux, in a virtual machine on macOS
	@MAKE="$(MAKE)" hack/magic.sh

.PHONY: magic-local
magic-local: ## Build, test and install on this Linux machine
	@MAKE="$(MAKE)" hack/magic.sh local

.PHONY: watch
watch: ## Rebuild, reload and restart a trace whenever a source changes (ARGS='trace network -A'; root)
watch: install-deps
	@hack/with-cluster.sh $(GO) run ./hack/watch $(or $(ARGS),trace network -A)

.PHONY: dev
dev: ## Start the virtual machine for development on macOS (Lima)
	@hack/vm.sh start

.PHONY: shell
shell: ## Open a shell in the virtual machine, in this folder
	@hack/vm.sh shell

.PHONY: status
status: ## Show the virtual machine
	@hack/vm.sh status

.PHONY: stop
stop: ## Stop the virtual machine
	@hack/vm.sh stop

.PHONY: test-dev
test-dev: ## Validate the template of the virtual machine
	@hack/lima.sh

.PHONY: clean
clean: ## Remove build outputs, and the virtual machine
	@rm -rf $(BIN) $(DIST)
	@hack/vm.sh delete
