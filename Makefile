# Copyright The csi-driver-spiffe Authors.
# SPDX-License-Identifier: Apache-2.0

# Everything that is built lands in ./bin, and nothing outside this clone is touched but Go's own caches and the temporary
# folder: two clones, or two targets in one, do not disturb each other. Go decides what is out of date, so the targets
# are all phony.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory

# What can be given on the command line.
FUZZTIME    ?= 30s
KEEP        ?=
BENCHFLAGS  ?=
BASELINE    ?=
SCALEFLAGS  ?=
TORTUREFLAGS ?=
SEARCHFLAGS ?= -search.depth=deep
TESTFLAGS   ?=
E2EFLAGS    ?=
PLATFORMS   ?= linux/amd64 linux/arm64
REGISTRY    ?= ghcr.io/csi-driver-spiffe

# A cluster from the environment might be somebody's production cluster. Only one that is given on the command line
# (`make test KUBECONFIG=/path`) is used, and what a recipe runs never sees another.
ifneq ($(origin KUBECONFIG),command line)
override KUBECONFIG :=
endif
unexport KUBECONFIG CSI_DRIVER_SPIFFE_TEST_KUBECONFIG CSI_DRIVER_SPIFFE_TEST_DEVCLUSTER CSI_DRIVER_SPIFFE_TEST_PROGRAMS

MODULE  := github.com/csi-driver-spiffe/csi-driver-spiffe
BIN     := $(CURDIR)/bin
# So many digits of a commit that two clones agree about them.
VERSION := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo devel)
LDFLAGS := -s -w -X $(MODULE)/internal/daemon.version=$(VERSION)

# Not -trimpath: it would give every package a second place in Go's build cache, and go test would compile all of
# Kubernetes again.
STATIC   := env CGO_ENABLED=0 go build
PROGRESS := $(CURDIR)/internal/dev/tools/progress.sh

# The modules that are ours; those of most tools hold no code.
MODULES    := . internal/dev/bench/report internal/dev/devcluster internal/dev/tools/image internal/dev/tools/step-ca
GO_FOLDERS := $(wildcard cmd config internal)

# Runs a command in each of our modules, and fails if it did in one.
in_each_module = status=0; for module in $(MODULES); do \
	  echo "== $$module: $(notdir $(firstword $(1))) $(wordlist 2,3,$(1))"; \
	  (cd "$$module" && export CGO_ENABLED=0 && $(1)) || status=1; \
	done; exit $$status

# golangci-lint would keep its cache in the home folder.
export GOLANGCI_LINT_CACHE := $(BIN)/cache/golangci-lint
GOLANGCI_LINT := $(BIN)/tools/golangci-lint

# The cluster that a recipe's command runs on: the given one, or one of its own for as long as the command takes.
ifdef KUBECONFIG
CLUSTER    := env KUBECONFIG=$(abspath $(KUBECONFIG))
DEVCLUSTER :=
else
CLUSTER    := $(BIN)/devcluster exec --
DEVCLUSTER := devcluster
endif

# Runs a command that mounts: for those who are not root, in a user namespace.
AS_ROOT := $(CURDIR)/internal/dev/tools/as-root.sh

##@ Start here

.PHONY: help
help: ## List the targets (the default)
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nTargets that need a cluster start one of their own, unless KUBECONFIG=/path is given to make itself.\n'

.PHONY: demo
demo: build $(DEVCLUSTER) $(if $(KEEP),kubectl) ## Watch a pod's volume being filled, renewed and destroyed (KEEP=1: leave it running)
	@$(PROGRESS) 'bin/demo' $(STATIC) -v -o $(BIN)/demo ./internal/dev/demo
	@KEEP=$(KEEP) $(CLUSTER) $(AS_ROOT) $(BIN)/demo

##@ Build

.PHONY: build
build: ## The two daemons: bin/csi-driver-spiffe and bin/csi-driver-spiffe-approver
	@$(PROGRESS) 'the daemons' $(STATIC) -v -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: devcluster
devcluster: ## bin/devcluster: etcd, kube-apiserver and cert-manager in one program (the first build takes minutes)
	@if [[ ! -x $(BIN)/devcluster ]]; then \
	  echo 'Building bin/devcluster: kube-apiserver, etcd and cert-manager, from source. The first build on a machine'; \
	  echo 'downloads 200 modules (100 MB), compiles about 2,000 packages and takes 4 to 15 minutes. Later ones take seconds.'; \
	fi
	@cd internal/dev/devcluster && $(PROGRESS) 'bin/devcluster' $(STATIC) -v -ldflags "$$(cat ldflags)" -o $(BIN)/devcluster .

.PHONY: devnode
devnode: ## bin/devnode: the same with a real node; the first build takes minutes more
	@((EUID == 0)) || { echo 'A node needs root: it mounts, makes namespaces and cgroups, and runs containers. Use sudo.' >&2; exit 1; }
	@if [[ ! -x $(BIN)/devnode ]]; then \
	  echo 'Building bin/devnode: a devcluster with kube-controller-manager, kube-scheduler and kubelet, from source. The first'; \
	  echo 'build on a machine takes 6 to 20 minutes, the devcluster included. Later ones take seconds.'; \
	fi
	@cd internal/dev/devcluster && $(PROGRESS) 'bin/devnode' $(STATIC) -v -ldflags "$$(cat ldflags)" -o $(BIN)/devnode ./cmd/devnode

.PHONY: kubectl
kubectl: ## bin/kubectl, for looking into the development cluster by hand
	@cd internal/dev/devcluster && $(PROGRESS) 'bin/kubectl' $(STATIC) -v -ldflags "$$(cat ldflags)" -o $(BIN)/kubectl ./cmd/kubectl

.PHONY: image
image: ## Container images of both daemons for PLATFORMS, in bin/images (no container runtime needed)
	@internal/dev/tools/images.sh '$(VERSION)' '$(REGISTRY)' '$(LDFLAGS)' $(PLATFORMS)

.PHONY: clean
clean: ## Remove ./bin, with all that was built and cached in this clone
	rm -rf $(BIN)

##@ Test

.PHONY: test
# Of the packages that have a kubelet in them none has a test, and compiling them would take minutes.
test: $(DEVCLUSTER) build bin/tools/csi-sanity bin/tools/aws-privateca-issuer bin/tools/step-ca bin/tools/kustomize bin/tools/jsonnet bin/tools/helm bin/tools/promtool bin/prometheus-crds ## Every test, with the race detector, on a real cluster
	@command -v gcc >/dev/null || command -v cc >/dev/null || { echo 'The race detector needs a C compiler: install gcc.' >&2; exit 1; }
	@status=0; \
	echo '== $(MODULE)'; \
	$(CLUSTER) $(AS_ROOT) bash -c 'exec env -u KUBECONFIG CSI_DRIVER_SPIFFE_TEST_KUBECONFIG="$$KUBECONFIG" "$$@"' - \
	  $(if $(DEVCLUSTER),CSI_DRIVER_SPIFFE_TEST_DEVCLUSTER=$(BIN)/devcluster) CSI_DRIVER_SPIFFE_TEST_PROGRAMS=$(BIN) \
	  CGO_ENABLED=1 internal/dev/tools/gotest.sh bin/test.log -race -timeout 20m $(TESTFLAGS) ./... || status=1; \
	if [[ -n '$(DEVCLUSTER)' ]]; then \
	  echo '== $(MODULE)/internal/dev/devcluster'; \
	  cd internal/dev/devcluster && DEVCLUSTER_BINARY=$(BIN)/devcluster CSI_DRIVER_SPIFFE_BINARY=$(BIN)/csi-driver-spiffe CGO_ENABLED=0 \
	    ../tools/gotest.sh $(BIN)/test-devcluster.log -timeout 20m $(TESTFLAGS) $$(go list ./... | grep -v -e /cmd/devnode -e /node/parts) || status=1; \
	  cd ../../..; \
	fi; \
	echo '== $(MODULE)/internal/dev/tools/image'; \
	(cd internal/dev/tools/image && CGO_ENABLED=0 ../gotest.sh $(BIN)/test-image.log $(TESTFLAGS) ./...) || status=1; \
	echo '== $(MODULE)/internal/dev/bench/report'; \
	(cd internal/dev/bench/report && CGO_ENABLED=0 ../../tools/gotest.sh $(BIN)/test-bench-report.log $(TESTFLAGS) ./...) || status=1; \
	if ((status)); then echo 'make test: FAILED' >&2; else echo 'make test: everything passed'; fi; \
	exit $$status

.PHONY: test-unit
test-unit: ## The tests that need no cluster, no root and no C compiler: seconds
	@CGO_ENABLED=0 internal/dev/tools/gotest.sh bin/test-unit.log -short -timeout 5m $(TESTFLAGS) ./...

.PHONY: e2e
e2e: devnode bin/tools/kustomize bin/tools/jsonnet bin/tools/helm ## The product on a real node: kubelet, containerd and pods (needs root; see E2EFLAGS)
	@internal/dev/tools/node-packages.sh $(BIN)/node-packages
	@internal/dev/tools/e2e.sh '$(LDFLAGS)' $(E2EFLAGS)

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (30s)
	@internal/dev/tools/fuzz.sh $(FUZZTIME)

# -v shows how far it is.
.PHONY: search
search: ## Search the orders of events in a volume's life for broken promises, deeper than make test does (up to 30 minutes)
	@CGO_ENABLED=0 go test -count=1 -v -timeout 30m ./internal/driver/lifecycle -run TestSearch $(SEARCHFLAGS)

.PHONY: torture
torture: search $(DEVCLUSTER) build ## The search; then kill the driver hundreds of times, and watch the pods (20 minutes more)
	@CSI_DRIVER_SPIFFE_TEST_SET_CLOCK=1 CGO_ENABLED=0 go test -count=1 -run TestFollowClock ./internal/issuance
	@$(PROGRESS) 'bin/torture' $(STATIC) -v -o $(BIN)/ ./internal/dev/torture/cmd/...
	@$(CLUSTER) $(AS_ROOT) $(BIN)/torture $(TORTUREFLAGS)
	@$(CLUSTER) $(AS_ROOT) bash -c 'exec env -u KUBECONFIG CSI_DRIVER_SPIFFE_TEST_KUBECONFIG="$$KUBECONFIG" "$$@"' - \
	  CSI_DRIVER_SPIFFE_TEST_FULL=1 CGO_ENABLED=0 go test -count=1 -v -run TestRepublishingDoesNothing ./internal/dev/integration | \
	  grep -E '^(---|ok|FAIL|    republish)'

# What the scenario "size" looks at takes a while to make, and nothing else needs it.
BENCH_IMAGES := $(if $(findstring -only,$(BENCHFLAGS)),$(if $(findstring size,$(BENCHFLAGS)),bench-images),bench-images)

.PHONY: bench
bench: $(DEVCLUSTER) build bench-programs $(BENCH_IMAGES) ## What the product takes, beside the least possible on the same cluster (20 minutes; BENCHFLAGS=-quick 3; BASELINE=FILE compares)
	@[[ -z '$(BASELINE)' || -e '$(BASELINE)' ]] || { echo 'BASELINE=$(BASELINE): there is no such file or folder' >&2; exit 1; }
	@out=$(BIN)/bench-results/$$(date -u +%Y%m%dT%H%M%SZ)-$(VERSION); status=0; \
	$(CLUSTER) $(AS_ROOT) $(BIN)/bench -out "$$out" $(BENCHFLAGS) || status=1; \
	if [[ -e $$out/results.json ]]; then \
	  $(BIN)/bench-report $(if $(BASELINE),-baseline '$(abspath $(BASELINE))') "$$out" || status=1; \
	fi; \
	exit $$status

.PHONY: bench-programs bench-images
bench-programs:
	@$(PROGRESS) 'bin/bench' $(STATIC) -v -ldflags '$(LDFLAGS)' -o $(BIN)/bench ./internal/dev/bench
	@$(PROGRESS) 'bin/bench-bare' $(STATIC) -v -ldflags '$(LDFLAGS)' -o $(BIN)/bench-bare ./internal/dev/bench/bare
	@cd internal/dev/bench/report && $(PROGRESS) 'bin/bench-report' $(STATIC) -v -o $(BIN)/bench-report .
bench-images: bench-programs
	@IMAGES=bin/bench-images TRIMPATH= internal/dev/tools/images.sh '$(VERSION)' '$(REGISTRY)' '$(LDFLAGS)' linux/$$(go env GOARCH) >/dev/null
	@$(BIN)/tools/image -name '$(REGISTRY)/bench-bare' -version '$(VERSION)' -output bin/bench-images/bench-bare.tar \
	  linux/$$(go env GOARCH)=bin/bench-bare >/dev/null

.PHONY: scale
scale: $(DEVCLUSTER) build ## Simulate a large cluster: many drivers against one API server (20 minutes; SCALEFLAGS=-help)
ifdef KUBECONFIG
	@echo 'make scale loads an API server with thousands of pods and does not clean up behind itself: it runs on a cluster of its own only.' >&2; exit 2
endif
	@$(PROGRESS) 'bin/scale' $(STATIC) -v -o $(BIN)/scale ./internal/dev/scale
	@$(CLUSTER) $(BIN)/scale $(SCALEFLAGS)

##@ Keep it good

.PHONY: check
check: lint vuln ## lint and vuln

.PHONY: lint
lint: ## Format, modules tidy, go vet, golangci-lint, generated documentation up to date
	@$(MAKE) --keep-going lint-format lint-modules lint-vet lint-golangci lint-docs

.PHONY: lint-format lint-modules lint-vet lint-golangci lint-docs
lint-format: bin/tools/gofumpt
	@echo '== gofumpt'
	@unformatted=$$(bin/tools/gofumpt -l $(GO_FOLDERS)); \
	[[ -z $$unformatted ]] || { printf 'Not formatted (make fmt does it):\n%s\n' "$$unformatted" >&2; exit 1; }
lint-modules:
	@$(call in_each_module,go mod tidy -diff)
# Not in internal/dev/devcluster: the vet of golangci-lint is enough there, and go vet would look through all of Kubernetes.
lint-vet:
	@echo '== go vet'
	@CGO_ENABLED=0 go vet ./...
lint-golangci: bin/tools/golangci-lint
	@$(call in_each_module,$(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...)
lint-docs:
	@echo '== go run ./internal/dev/docgen -check'
	@CGO_ENABLED=0 go run ./internal/dev/docgen -check

# Not of the CA that tests run.
.PHONY: vuln
vuln: bin/tools/govulncheck ## Known vulnerabilities in code that is really called (needs https://vuln.go.dev)
	@internal/dev/tools/vuln.sh $(BIN)/tools/govulncheck $(filter-out internal/dev/tools/step-ca,$(MODULES))

.PHONY: fmt
fmt: bin/tools/golangci-lint ## Format the code: gofumpt, imports in three groups
	@$(call in_each_module,$(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yml ./...)

.PHONY: generate
generate: ## Write what is generated from the code: the config reference, config/schema.json, testdata/requests
	@CGO_ENABLED=0 go run ./internal/dev/docgen
	@CGO_ENABLED=0 go run ./internal/dev/corpus/generate

# Each tool is pinned by a module of its own, so that neither another tool nor the daemons share its dependencies.
bin/tools/%: internal/dev/tools/%/go.mod internal/dev/tools/%/go.sum
	@echo 'Building $@, pinned in $<: at most two minutes, once'
	@cd internal/dev/tools/$* && $(PROGRESS) '$@' $(STATIC) -v -o $(CURDIR)/$@ tool

# Without the service discoveries of all clouds.
bin/tools/promtool: export GOFLAGS := -tags=remove_all_sd

# The kinds of the Prometheus operator, for the API server to check them: files of its Go module, of which nothing is built.
PROMETHEUS_OPERATOR := github.com/prometheus-operator/prometheus-operator
bin/prometheus-crds: internal/dev/tools/prometheus-operator/go.mod internal/dev/tools/prometheus-operator/go.sum
	@folder=$$(cd internal/dev/tools/prometheus-operator && go mod download -json $(PROMETHEUS_OPERATOR) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p'); \
	rm -rf $@ && mkdir -p $@ && \
	cp "$$folder"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml $@/
