// Package bench compares godwit with other transports: the same generator, the
// same messages and the same rules of validity for each of them, every end in a
// process of its own. The program is cmd/godwit-bench; nothing imports this module,
// so that users of the library do not download what it is compared with.
package bench
