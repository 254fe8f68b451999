# The verbs of the project; each is one thin call. ARGS adds flags: make serve ARGS="--listen :4242".
SEEDS ?= 10000
FUZZTIME ?= 30m
SOAKTIME ?= 2h

.PHONY: build serve bench bench-quick bench-idle bin/godwit-bench measure test lint fmt fuzz sim soak spec

build:   ## bin/godwit; -v names each package as it is compiled
	go build -v -o bin/godwit ./gateway/cmd/godwit

serve: build
	./bin/godwit serve $(ARGS)

bench: bin/godwit-bench   ## godwit beside every other transport; hours: it says how many
	./bin/godwit-bench $(ARGS)

bench-quick: bin/godwit-bench   ## the same in less than five minutes, for a look
	./bin/godwit-bench -quick $(ARGS)

bin/godwit-bench:
	bench/build.sh $@

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
