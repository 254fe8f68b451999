package protect

import "unsafe"

// Sealing returns where the cipher objects lie that seal 1-RTT packets, for prefetching alone; nil for what is not built.
func (k *Keys) Sealing() (aead, header unsafe.Pointer) {
	d := &k.app.write
	return object(unsafe.Pointer(&d.aead)), object(unsafe.Pointer(&d.header))
}

// Opening is Sealing of the objects that open packets.
func (k *Keys) Opening() (aead, header unsafe.Pointer) {
	d := &k.app.read
	return object(unsafe.Pointer(&d.aead)), object(unsafe.Pointer(&d.header))
}

// object returns the second word of an interface: where its value lies. If that is ever different, a prefetch is in vain.
func object(value unsafe.Pointer) unsafe.Pointer { return (*[2]unsafe.Pointer)(value)[1] }
