// Command godwit is the server, the gateway and the tools in one binary.
package main

import (
	"os"

	"godwit.example/godwit/gateway/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr)) }
