package mailbox

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func TestRingBehavesAsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(0, 40).Draw(t, "capacity")
		r := NewRing[int](capacity)
		if r.Cap() < max(capacity, 1) || r.Cap() >= 2*max(capacity, 1) {
			t.Fatalf("a ring for %d holds %d", capacity, r.Cap())
		}
		var queue []int
		pushed := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				ok := r.Push(pushed)
				if ok != (len(queue) < r.Cap()) {
					t.Fatalf("Push gave %v with %d of %d places taken", ok, len(queue), r.Cap())
				}
				if ok {
					queue = append(queue, pushed)
					pushed++
				}
			},
			"push batch": func(t *rapid.T) {
				vs := make([]int, rapid.IntRange(0, 50).Draw(t, "n"))
				for i := range vs {
					vs[i] = pushed + i
				}
				n := r.PushBatch(vs)
				if n != min(len(vs), r.Cap()-len(queue)) {
					t.Fatalf("PushBatch took %d of %d with %d of %d places taken", n, len(vs), len(queue), r.Cap())
				}
				queue = append(queue, vs[:n]...)
				pushed += n
			},
			"pop": func(t *rapid.T) {
				v, ok := r.Pop()
				if ok != (len(queue) > 0) || ok && v != queue[0] {
					t.Fatalf("Pop gave %d, %v; the queue is %v", v, ok, queue)
				}
				if ok {
					queue = queue[1:]
				}
			},
			"pop batch": func(t *rapid.T) {
				dst := make([]int, rapid.IntRange(0, 50).Draw(t, "n"))
				n := r.PopBatch(dst)
				if n != min(len(dst), len(queue)) {
					t.Fatalf("PopBatch gave %d of %d", n, len(queue))
				}
				for i, v := range dst[:n] {
					if v != queue[i] {
						t.Fatalf("item %d is %d, the queue is %v", i, v, queue)
					}
				}
				queue = queue[n:]
			},
			"sleep": func(t *rapid.T) {
				if r.Sleep() != (len(queue) == 0) {
					t.Fatalf("Sleep with %d items waiting", len(queue))
				}
				r.Awake()
			},
			"": func(t *rapid.T) {
				if r.Len() != len(queue) {
					t.Fatalf("Len is %d, the queue has %d", r.Len(), len(queue))
				}
			},
		})
	})
}

func TestASleepingConsumerIsWokenOnce(t *testing.T) {
	r := NewRing[int](8)
	if !r.Sleep() {
		t.Fatal("an empty ring does not let its consumer sleep")
	}
	r.Push(1)
	r.Push(2)
	<-r.Woken()
	select {
	case <-r.Woken():
		t.Error("woken twice for one sleep")
	default:
	}
	r.PopBatch(make([]int, 2))
	r.Sleep()
	r.Notify()
	<-r.Woken()
	r.Sleep()
	r.Awake()
	r.Push(3)
	select {
	case <-r.Woken():
		t.Error("woken while awake")
	default:
	}
}

func TestPoppedSlotsKeepNothingAlive(t *testing.T) {
	r := NewRing[*int](4)
	for range 3 {
		r.Push(new(int))
	}
	r.Pop()
	r.PopBatch(make([]*int, 2))
	for i, p := range r.slots {
		if p != nil {
			t.Errorf("slot %d still holds its item", i)
		}
	}
}

func TestTwoGoroutinesSeeOneOrder(t *testing.T) {
	const items = 300_000
	r := NewRing[[2]int](64)
	go func() {
		batch := make([][2]int, 0, 16)
		for n := 0; n < items; {
			if n%3 == 0 {
				if r.Push([2]int{n, -n}) {
					n++
				} else {
					runtime.Gosched()
				}
				continue
			}
			batch = batch[:0]
			for i := n; i < min(n+16, items); i++ {
				batch = append(batch, [2]int{i, -i})
			}
			k := r.PushBatch(batch)
			if k == 0 {
				runtime.Gosched()
			}
			n += k
		}
	}()
	deadline := time.After(30 * time.Second)
	dst := make([][2]int, 10)
	for n := 0; n < items; {
		k := r.PopBatch(dst[:1+n%10])
		for _, v := range dst[:k] {
			if v != [2]int{n, -n} {
				t.Fatalf("%v arrived in place of %d", v, n)
			}
			n++
		}
		if k == 0 && r.Sleep() {
			select {
			case <-r.Woken():
			case <-deadline:
				t.Fatalf("asleep for ever after %d items, %d waiting", n, r.Len())
			}
		}
	}
}

func TestTheTwoSidesWriteToTheirOwnCacheLines(t *testing.T) {
	var r Ring[int]
	tail, head, asleep := unsafe.Offsetof(r.tail), unsafe.Offsetof(r.head), unsafe.Offsetof(r.asleep)
	if head-tail < cacheLine+16 || asleep-head < cacheLine+16 || tail-unsafe.Offsetof(r.woken) < cacheLine || unsafe.Sizeof(r)-asleep < cacheLine {
		t.Errorf("offsets: tail %d, head %d, asleep %d of %d", tail, head, asleep, unsafe.Sizeof(r))
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	r := NewRing[[64]byte](16)
	dst := make([][64]byte, 8)
	if n := testing.AllocsPerRun(100, func() {
		r.Push(dst[0])
		r.PushBatch(dst)
		r.Pop()
		r.PopBatch(dst)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRing(b *testing.B) {
	b.Run("same core", func(b *testing.B) {
		r := NewRing[[4]uint64](1024)
		for b.Loop() {
			r.Push([4]uint64{})
			r.Pop()
		}
	})
	b.Run("across cores", func(b *testing.B) {
		r := NewRing[[4]uint64](1024)
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for !stop.Load() {
				if _, ok := r.Pop(); !ok {
					runtime.Gosched()
				}
			}
		}()
		for b.Loop() {
			for !r.Push([4]uint64{}) {
				runtime.Gosched()
			}
		}
		stop.Store(true)
		<-done
	})
}
