# The targets that people and CI call. `make help` lists them.
GO       ?= go
# How the server is built for release, as xcaddy does: without the databases that
# only a CA of one's own might want. Vet and the linter use the same flags, so
# that all of them share what Go compiled.
LEAN     := -trimpath -tags=nobadger,nomysql,nopgx
RELEASE  := $(LEAN) -ldflags '-w -s'
BUILD    := $(CURDIR)/build
# A test that hangs shall say where, not run into the limit of whoever started it.
TIMEOUT  ?= 25m
# A password hash takes ten times as long under the race detector, and has nothing for it to find.
TESTFLAGS ?= -race -gcflags=golang.org/x/crypto/blowfish=-race=false -shuffle=on -timeout $(TIMEOUT)

.DEFAULT_GOAL := build
.PHONY: help build install test simulate soak needs sdk vet lint cross xcaddy fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)

build: ## build the server into ./build/oose
	CGO_ENABLED=0 $(GO) build $(RELEASE) -o $(BUILD)/ ./cmd/oose

install: ## install the server into Go's bin folder
	CGO_ENABLED=0 $(GO) install $(RELEASE) ./cmd/oose

test: needs sdk vet ## all tests, with the race detector; installs what they need, or says what is missing
	$(GO) test $(TESTFLAGS) ./...

simulate: ## clusters of up to 1,000 nodes, without the race detector, which test has for smaller ones
	$(GO) test -v -count=1 -run 'TestLarge|TestHalf' ./heartbeat/monitor

soak: needs ## a cluster suffers everything at random for SOAK (1h), by SEED; ENGINE=badger or redis. As root, on Linux
	$(GO) test -v -count=1 -tags soak -timeout 0 -run '^TestSoak$$' ./integration

needs: ## install the programs that the tests run (Debian and root), or name what is missing
	@tools/needs

# npm writes node_modules/.package-lock.json last: it stands for the whole folder.
sdk: integration/sdk/node_modules/.package-lock.json ## install the published SDK that the tests drive
integration/sdk/node_modules/.package-lock.json: integration/sdk/package.json integration/sdk/package-lock.json
	cd integration/sdk && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

vet: ## go vet, for all packages and their tests
	$(GO) vet $(LEAN) ./...
	$(GO) vet -trimpath -tags=nobadger,nomysql,nopgx,soak ./integration
	$(GO) -C tools/xcaddy vet ./...

lint: ## staticcheck, gofmt, and whether go.mod is tidy
	$(GO) -C tools/lint build -o $(BUILD)/tools/ tool
	GOFLAGS="$(GOFLAGS) $(LEAN)" $(BUILD)/tools/staticcheck ./...
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		if [ -n "$$unformatted" ]; then echo "not formatted by gofmt: $$unformatted"; exit 1; fi

cross: ## build for macOS and Windows
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build $(RELEASE) -o $(BUILD)/darwin/ ./cmd/oose
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build $(RELEASE) -o $(BUILD)/windows/ ./cmd/oose

xcaddy: ## build with xcaddy what xcaddy.json says, and look for our modules in it
	$(GO) -C tools/xcaddy run . $(CURDIR)/xcaddy.json $(BUILD)/xcaddy

fuzz: ## run every fuzz target for FUZZTIME (default 10s)
	@tools/fuzz $(or $(FUZZTIME),10s)

clean: ## remove what the targets above made
	rm -rf $(BUILD) integration/sdk/node_modules
