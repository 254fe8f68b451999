// Command godwit is the server, the gateway and the tools in one binary.
package main

func main() {}
