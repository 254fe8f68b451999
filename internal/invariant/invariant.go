// Package invariant holds the assertions of the other rooms: on in builds
// tagged godwitdebug, compiled to nothing in all others.
//
// An assertion states what must hold whatever the peer or the application
// does. What a peer can break is an error that closes its connection; what
// the application can break is a returned error.
package invariant
