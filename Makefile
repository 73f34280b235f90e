# Everything a person or CI does here. Each target sets up what it needs, in .venv, and nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/regularization/v1/*.proto)
TRAINING_PROTOS := $(wildcard protos/training/v1/*.proto)
# The files whose methods read streams of requests: browsers have none, and get a variant without.
STREAMING := $(shell grep -l '(stream [A-Za-z]*Request)' $(PROTOS) $(TRAINING_PROTOS))
DOCUMENTS := $(wildcard *.md docs/*.md conformance/*.md)
# Of the cases of a test that has many, one of so many is tried, another with the next turn.
SHARE ?= 4
TURN ?= 0
# The generator is no newer than any release that the package supports: generated code refuses older runtimes.
GENERATOR := grpcio-tools==1.76.0 mypy-protobuf==5.1.0
PROTOC := $(VENV)-generate/bin/python -m grpc_tools.protoc --proto_path=protos \
  --plugin=protoc-gen-mypy=$(VENV)-generate/bin/protoc-gen-mypy \
  --plugin=protoc-gen-mypy_grpc=$(VENV)-generate/bin/protoc-gen-mypy_grpc

# Extras that may go into the image.
LOCKED := server compiled traces
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade --python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help run test check fuzz soak bench docs image lock base sbom generate check-generated format clean

help: ## Show this help.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.demo ## Train sparse digit classifiers through the service; table on screen, picture in build/digits.
	$(BIN)/python examples/digits/train.py --output build/digits

test: $(VENV)/.test ## Run all tests, on a quarter of the cases where there are many; on all by: make test SHARE=1
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --share $(SHARE) --turn $(TURN)

check: $(VENV)/.test $(VENV)/.check check-generated ## Lint and type-check code, schema, Dockerfile and documents.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code && \
	  ../$(BIN)/buf breaking --against kept.binpb
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/mdformat --check $(DOCUMENTS)

fuzz: $(VENV)/.fuzz ## Try a million inputs at the decoders and the service, and say which fail.
	$(BIN)/python -m tests.fuzz

soak: $(VENV)/.test ## Make a hundred thousand calls, and say what of them is left in the server.
	$(BIN)/python -m tests.full_size.soak

bench: $(VENV)/.bench ## Measure speed and memory, as ratios from one run.
	$(BIN)/python -m benchmarks

docs: $(VENV)/.demo ## Regenerate the pages of regularizers and settings, and the pictures.
	$(BIN)/python -m docs.generate

image: ## Build the server's image with docker or podman (BASE=... for another base image).
	docker/build

lock: $(VENV)/.check ## Choose anew which releases, by their hashes, go into the image.
	@mkdir -p build
	$(LOCK) $(foreach extra,$(LOCKED),--extra $(extra)) pyproject.toml --output-file build/all.txt
	for extra in $(LOCKED); do \
	  $(LOCK) --extra "$$extra" --constraint build/all.txt pyproject.toml --output-file "docker/lock/$$extra.txt" || exit; done
	$(BIN)/python -c 'import tomllib; all = tomllib.load(open("pyproject.toml", "rb")); \
	  print(*all["build-system"]["requires"], *all["project"]["optional-dependencies"]["image"], sep="\n")' \
	  | $(LOCK) - --output-file docker/lock/build.txt

base: | $(BIN)/python ## Renew the digest of the image's base, by skopeo (BASE=... for another one's).
	$(BIN)/python docker/base.py

sbom: ## Take the list of what an image contains out of it, as a CycloneDX document, build/sbom.json (IMAGE=...).
	@mkdir -p build
	docker/sbom $(IMAGE) > build/sbom.json

generate: $(VENV)-generate/.ready ## Regenerate the Python code of the schema.
	$(call generate,protos)

check-generated: $(VENV)-generate/.ready
	@rm -rf build/generated && mkdir -p build/generated/regularization
	$(call generate,build/generated)
	@for file in $$(cd build/generated && find . -type f); do \
	  cmp "build/generated/$$file" "protos/$$file" || { echo "stale: run 'make generate'"; exit 1; }; done

format: $(VENV)/.check ## Format code, schema and documents.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	cd protos && ../$(BIN)/buf format --write
	$(BIN)/mdformat $(DOCUMENTS)

clean: ## Remove everything that make has made.
	rm -rf $(VENV) $(VENV)-generate build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Python has training.v1 inside its package regularization: users have modules named training.
define generate
	$(PROTOC) --python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS)
	$(PROTOC) --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) protos/regularization/v1/regularization_service.proto
	$(PROTOC) --python_out=$(1)/regularization --mypy_out=quiet:$(1)/regularization $(TRAINING_PROTOS)
	$(PROTOC) --proto_path=protos/third_party --include_imports --descriptor_set_out=$(1)/schema.binpb \
	  $(PROTOS) $(TRAINING_PROTOS) google/rpc/status.proto google/rpc/error_details.proto
	@for file in $(subst protos/,,$(STREAMING)); do mkdir -p "$(1)/web/$$(dirname "$$file")" && \
	  sed -e 's/(stream \([A-Za-z]*Request\))/(\1)/' \
	    -e "1i // Made of $$file by make generate, for gRPC-web: a stream of requests is one message there.\n" \
	    "protos/$$file" > "$(1)/web/$$file"; done
endef

# One stamp for each extra of pyproject.toml that is installed.
$(VENV)/.demo $(VENV)/.test $(VENV)/.check $(VENV)/.bench $(VENV)/.fuzz: $(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

$(VENV)-generate/.ready: Makefile | python
	$(PYTHON) -m venv $(VENV)-generate
	$(VENV)-generate/bin/python -m pip install --quiet $(GENERATOR)
	@touch $@

$(BIN)/python: | python
	$(PYTHON) -m venv $(VENV)

# Debian keeps venv in a package of its own.
.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } \
	  || { echo "Python's venv is needed: sudo apt-get install python3-venv"; exit 1; }
