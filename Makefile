# `make help` lists the targets. A machine with Go, git and make is enough:
# what the targets need beside that they build from pinned modules into bin/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
KUBECTL ?= kubectl
IMAGE_PREFIX ?=
KUBERNETES := $(abspath $(or $(KUBEBUILDER_ASSETS),bin/kubernetes))
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

# The race detector needs cgo and a C compiler, and takes twice the time of
# compiling: it watches the packages with goroutines of their own. Results are
# not taken from the cache, which does not see programs outside of the tree.
RACE_PACKAGES := ./controllers/... ./internal/...
PLAIN_PACKAGES := ./api/... ./cmd/... ./hack/... ./test/...
# Tests with libraries that are not to be among ours: modules of their own.
TEST_MODULES := test/chart

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2} /^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ The job

.PHONY: demo
demo: $(if $(filter node,$(CLUSTER)),node-files,kubernetes build) ## Run the whole job here: API server, operator, gateway, IdP, application (CHECK=1: sign in, report, exit; CLUSTER=node: in pods)
	@$(GO_BUILD) -o bin/demo ./hack/demo
	@KUBEBUILDER_ASSETS="$(KUBERNETES)" $(if $(filter node,$(CLUSTER)),hack/demo/node.sh,bin/demo) $(if $(CHECK),-check)

.PHONY: test
test: kubernetes ## Run all tests, with a real API server and a real IdP; installs Debian packages that are missing
	@hack/install-test-packages.sh
	@status=0; export KUBEBUILDER_ASSETS="$(KUBERNETES)"; \
	echo "Testing with the race detector: $(RACE_PACKAGES)"; \
	CGO_ENABLED=1 go test -race -count=1 -timeout=20m $(RACE_PACKAGES) || status=1; \
	echo "Testing: $(PLAIN_PACKAGES)"; \
	CGO_ENABLED=0 go test -count=1 -timeout=20m $(PLAIN_PACKAGES) || status=1; \
	for module in $(TEST_MODULES); do \
		echo "Testing: $$module"; \
		CGO_ENABLED=0 GOWORK=off go -C $$module test -count=1 -timeout=20m ./... || status=1; \
	done; \
	exit $$status

##@ Development

.PHONY: build
build: ## Build bin/operator, bin/gateway and bin/kubectl-saml
	@echo "Building bin/operator, bin/gateway and bin/kubectl-saml $(VERSION)"
	@mkdir -p bin
	@$(GO_BUILD) -o bin/ ./cmd/operator ./cmd/gateway ./cmd/kubectl-saml

.PHONY: kubernetes
kubernetes: ## Build etcd and the Kubernetes binaries into bin/kubernetes, once (KUBEBUILDER_ASSETS: use those instead)
	@hack/kubernetes/build.sh

.PHONY: generate
generate: bin/tools/controller-gen bin/tools/crd-ref-docs ## Generate deep copies and docs/api
	@bin/tools/controller-gen object paths=./api/...
	@mkdir -p docs/api
	@bin/tools/crd-ref-docs --source-path=api/v1alpha1 --config=hack/tools/crd-ref-docs.yaml \
		--renderer=markdown --output-path=docs/api/v1alpha1.md --log-level=ERROR

.PHONY: manifests
manifests: bin/tools/controller-gen ## Generate the CRD and the operator's Role, and copy config/ into the Helm chart
	@bin/tools/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	@bin/tools/controller-gen rbac:roleName=saml-operator paths=./controllers/... output:rbac:dir=config/rbac
	@hack/chart-files.sh

.PHONY: lint
lint: bin/tools/golangci-lint bin/tools/govulncheck ## Check format, vet, golangci-lint and known vulnerabilities
	@hack/lint.sh

.PHONY: bench
bench: ## Run the benchmarks; results in out/bench.txt
	@mkdir -p out
	@git grep -l '^func Benchmark' -- '*_test.go' | xargs -r -n1 dirname | sort -u | sed 's#^#./#' | \
		xargs -r go test -run='^$$' -bench=. -benchmem -timeout=30m | tee out/bench.txt

# The number of tenants.
TENANTS ?= 10000

.PHONY: bench-operator
bench-operator: kubernetes build ## Measure the operator with TENANTS=10000 tenants; results in out/bench-operator.json
	@$(GO_BUILD) -o bin/bench-operator ./test/bench/operator
	@KUBEBUILDER_ASSETS="$(KUBERNETES)" bin/bench-operator -tenants "$(TENANTS)"

.PHONY: bench-saml
bench-saml: ## Measure verifying a typical response; results in out/bench-saml.json
	@hack/bench-saml.sh

# How long each target is fuzzed.
FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME=30s; findings are left in testdata/fuzz
	@hack/install-test-packages.sh
	@hack/fuzz.sh "$(FUZZTIME)"

# How long programs are killed, and parts taken away.
DURATION ?= 10m

.PHONY: soak
soak: kubernetes ## Kill operator and API server at random for DURATION=10m while tenants are edited; report in out/soak.json
	@KUBEBUILDER_ASSETS="$(KUBERNETES)" go test -count=1 -v -timeout=0 ./test/soak -args -duration="$(DURATION)" -out="$(CURDIR)/out/soak.json"

# Flags of the suite: -steps=1,3 of e2e, -seed=N of chaos.
FLAGS ?=

.PHONY: e2e
e2e: ## Prove on a node of its own what the product promises (root; CLUSTER=current: on that of KUBECONFIG); report in out/e2e.json
	@hack/suite.sh e2e $(FLAGS)

.PHONY: chaos
chaos: ## Take parts away at random for DURATION=10m while people sign in and attackers try; account in out/chaos.json
	@hack/suite.sh chaos -duration="$(DURATION)" $(FLAGS)

.PHONY: verify
verify: ## Regenerate everything, fail on a difference, and lint
	@hack/verify.sh

.PHONY: clean
clean: ## Remove everything built
	@rm -rf bin dist out

##@ A node

.PHONY: kubernetes-node
kubernetes-node: ## Build kubelet and what else a node needs into bin/kubernetes, once
	@hack/kubernetes/build.sh node

.PHONY: node-files
node-files: bin/node
	@hack/install-node-packages.sh
	@bin/node check
	@hack/kubernetes/build.sh node
	@$(MAKE) image
	@bin/image -out out/images $(PAUSE)

.PHONY: node-up
node-up: node-files ## Start a Kubernetes node here, with the images loaded (as root; NODE_NAME=saml-node)
	@KUBEBUILDER_ASSETS="$(KUBERNETES)" bin/node up -images out/images
	@echo "Look around with: bin/node exec kubectl get pods -A"

.PHONY: node-test
node-test: node-files ## Start a node, break it, end it, and see that nothing is left (as root)
	@KUBEBUILDER_ASSETS="$(KUBERNETES)" CGO_ENABLED=0 go test -tags=node -count=1 -v -timeout=20m ./test/node

.PHONY: node-down
node-down: bin/node ## End it, and remove everything but its logs in out/node/log
	@bin/node down

.PHONY: bin/node
bin/node:
	@$(GO_BUILD) -o $@ ./hack/node

##@ Deployment

# Beside the images that are deployed, what the node's pods are held open by.
IMAGES := saml-operator=./cmd/operator saml-gateway=./cmd/gateway
PAUSE := registry.k8s.io/pause:3.10=./hack/node/pause
# All times in an image are that of its commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# For a release: linux/amd64,linux/arm64
PLATFORMS ?= linux/$(shell go env GOARCH)

.PHONY: image
image: bin/image ## Build the images saml-operator and saml-gateway as OCI archives in out/images (IMAGE_PREFIX=registry/project/, PLATFORMS)
	@bin/image -out out/images -version "$(VERSION)" -revision "$$(git rev-parse HEAD)" -epoch "$(SOURCE_DATE_EPOCH)" \
		-platforms "$(PLATFORMS)" $(addprefix $(IMAGE_PREFIX),$(IMAGES))

.PHONY: image-verify
image-verify: ## Build the images of HEAD once more, in another directory and without a cache, and compare
	@hack/image/verify.sh

.PHONY: docker-image
docker-image: ## Build the same images from the Dockerfile, with an engine
	@command -v docker >/dev/null || { echo "make docker-image needs docker, which is not installed; make image needs nothing" >&2; exit 1; }
	@for name in operator gateway; do \
		docker build --build-arg VERSION=$(VERSION) --target $$name -t $(IMAGE_PREFIX)saml-$$name:$(VERSION) .; \
	done

.PHONY: bin/image
bin/image:
	@$(GO_BUILD) -o $@ ./hack/image

.PHONY: dist
dist: kubernetes ## Write dist/install.yaml and the packaged Helm chart, with the images of VERSION (IMAGE_PREFIX=registry/project/)
	@KUBECTL="$(KUBERNETES)/kubectl" IMAGE_PREFIX="$(IMAGE_PREFIX)" hack/dist.sh "$(VERSION)"

.PHONY: install
install: ## Install the CRD into the cluster of the current kubectl context
	@$(KUBECTL) apply -k config/crd

.PHONY: deploy
deploy: ## Install CRD, operator and gateway into the cluster of the current kubectl context
	@$(KUBECTL) apply -k config/default

# The tools that hack/tools/go.mod pins, by the last element of their path.
bin/tools/%: hack/tools/go.mod hack/tools/go.sum
	@echo "Building $@"
	@CGO_ENABLED=0 GOWORK=off go -C hack/tools build -trimpath -o $(CURDIR)/$@ \
		$$(sed -n 's#^\t\([^ ]*/$*\)$$#\1#p' hack/tools/go.mod)
