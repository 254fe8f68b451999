# The verbs of the project; each is one thin call. ARGS adds flags: make serve ARGS="--listen :4242".
ADDR ?= 127.0.0.1:4242
SEEDS ?= 10000
FUZZTIME ?= 30m
SOAKTIME ?= 2h

.PHONY: build serve bench measure bench-idle test lint fmt fuzz sim soak spec

build:   ## bin/godwit; -v names each package as it is compiled
	go build -v -o bin/godwit ./gateway/cmd/godwit

serve: build
	./bin/godwit serve $(ARGS)

bench: build
	./bin/godwit bench $(ADDR) $(ARGS)

measure:
	go run ./tools/bench $(ARGS)

bench-idle:
	go run ./tools/idle -keep docs/data/idle.json $(ARGS)

test:
	go run ./tools/test $(ARGS)

lint:
	go run ./tools/test -only gofumpt,vet,staticcheck,cross-vet

fmt:
	go run ./tools/test -only gofumpt -fix

fuzz:
	go run ./tools/test -only fuzz -fuzztime $(FUZZTIME)

sim:
	go run ./tools/test -only sim -seeds $(SEEDS)

soak:
	go run ./tools/test -only soak -soaktime $(SOAKTIME)

spec: build
	tools/spec/run.sh
