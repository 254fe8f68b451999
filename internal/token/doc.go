// Package token makes and checks what a server hands out instead of keeping
// state: Retry cookies, stateless reset tokens and connection IDs that carry
// their own routing.
//
// The package is pure: time is an argument, randomness is an argument or not
// needed, nothing is shared. Everything here is checked against bytes of
// unknown origin, so every check is bounded and allocates nothing that grows
// with the input.
package token
