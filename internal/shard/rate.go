package shard

import "godwit.example/godwit/internal/mono"

// bucket is a token bucket.
type bucket struct {
	rate  int64 // tokens a second
	burst int64
	level int64 // billionths of a token
	last  mono.Time
}

const nano = int64(mono.Second)

// take takes a token if there is one.
func (b *bucket) take(now mono.Time) bool {
	elapsed := min(int64(now.Sub(b.last)), nano)
	b.last = now
	b.level = min(b.level+elapsed*b.rate, b.burst*nano)
	if b.level < nano {
		return false
	}
	b.level -= nano
	return true
}

// any reports whether there is a token.
func (b *bucket) any(now mono.Time) bool {
	if !b.take(now) {
		return false
	}
	b.level += nano
	return true
}

// rates bound everything that is sent, or tried, without a connection.
type rates struct {
	retry, reset, version, refuse bucket
	forged                        bucket // packets that were tried with the keys of a connection that hibernates, and failed
}

func (r *rates) init(now mono.Time) {
	r.retry = newBucket(now, 5000, 256)
	r.reset = newBucket(now, 1000, 100)
	r.version = newBucket(now, 200, 20)
	r.refuse = newBucket(now, 1000, 100)
	r.forged = newBucket(now, 5000, 1000)
}

func newBucket(now mono.Time, rate, burst int64) bucket {
	return bucket{rate: rate, burst: burst, level: burst * nano, last: now}
}
