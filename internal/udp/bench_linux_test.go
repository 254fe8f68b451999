package udp

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scheduled makes the two batch calls tell the Go scheduler, as syscall.Syscall
// does; the engine leaves that out (see sys_linux.go).
func scheduled(s *system) {
	s.recvmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
		r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		return result(r, errno)
	}
	s.sendmmsg = func(fd int, hdrs *mmsghdr, n int) (int, unix.Errno) {
		r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(hdrs)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		return result(r, errno)
	}
}

// BenchmarkEcho has 64-byte datagrams echoed over the loopback, both ends on one
// goroutine, and reports the time of a datagram's whole round trip, by the clock
// and, for machines that are shared, in time of the processor.
func BenchmarkEcho(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(*system)
	}{{"", func(*system) {}}, {"/scheduled", scheduled}} {
		for _, segments := range []int{1, 4, 16, 64} {
			b.Run(fmt.Sprintf("segments=%d%s", segments, c.name), func(b *testing.B) {
				server := testServer(b, "127.0.0.1:0", c.change)
				client := testClient(b, at(server, "127.0.0.1"), c.change)
				r := roundTrip{server: server, client: client, sockets: 1}
				defer r.in.Free()
				defer r.back.Free()
				benchEcho(b, &r, segments)
			})
		}
	}
}

// BenchmarkEchoMany does the same with 32 client sockets, a datagram each.
func BenchmarkEchoMany(b *testing.B) {
	server := testServer(b, "127.0.0.1:0")
	r := roundTrip{server: server, client: testEngine(b, Config{Client: true})}
	defer r.in.Free()
	defer r.back.Free()
	for range 32 {
		if _, err := r.client.Connect(at(server, "127.0.0.1")); err != nil {
			b.Fatal(err)
		}
	}
	benchEcho(b, &r, 1)
}

func benchEcho(b *testing.B, r *roundTrip, segments int) {
	sockets := r.client.Stats().Sockets
	train := make([]byte, 64*segments)
	outs := make([]Out, sockets)
	r.reply.Outs = make([]Out, 0, 64)
	b.ReportAllocs()
	datagrams := 0
	start := cpuTime()
	for b.Loop() {
		for i := range outs {
			outs[i] = Out{Data: train, Segment: 64, ECN: 2, Socket: uint32(i)}
		}
		r.out.Outs = outs
		r.client.Write(&r.out)
		for r.server.Read(&r.in) > 0 {
			r.reply.Outs = r.reply.Outs[:0]
			for i := range r.in.N {
				d := &r.in.Datagrams[i]
				r.reply.Outs = append(r.reply.Outs, Out{Data: d.Data, Segment: d.Segment, Remote: d.Remote, ECN: d.ECN})
			}
			r.server.Write(&r.reply)
			if !r.in.More {
				break
			}
		}
		for r.client.Read(&r.back) > 0 {
			for i := range r.back.N {
				datagrams += segmentsOf(len(r.back.Datagrams[i].Data), r.back.Datagrams[i].Segment)
			}
			if !r.back.More {
				break
			}
		}
	}
	if datagrams != b.N*segments*sockets {
		b.Fatalf("%d datagrams came back, want %d", datagrams, b.N*segments*sockets)
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(datagrams), "cpu-ns/datagram")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(datagrams), "ns/datagram")
}

// BenchmarkTrains is what a server's system calls cost in workload W3 of docs/BENCHMARKS.md, without anything that is done with the bytes: batches
// of 16 trains from as many sockets, four datagrams of 1,088 bytes each, are received and sent back.
func BenchmarkTrains(b *testing.B) {
	const sockets, segments, size = 16, 4, 1088
	server := testServer(b, "127.0.0.1:0")
	client := testEngine(b, Config{Client: true})
	for range sockets {
		if _, err := client.Connect(at(server, "127.0.0.1")); err != nil {
			b.Fatal(err)
		}
	}
	var in, back ReadBatch
	defer in.Free()
	defer back.Free()
	var out, reply WriteBatch
	train := make([]byte, segments*size)
	trains := 0
	var reading, writing int64
	for b.Loop() {
		out.Outs = out.Outs[:0]
		for i := range uint32(sockets) {
			out.Outs = append(out.Outs, Out{Data: train, Segment: size, ECN: 2, Socket: i})
		}
		client.Write(&out)
		start := cpuTime()
		server.Read(&in)
		reply.Outs = reply.Outs[:0]
		for _, d := range in.Datagrams[:in.N] {
			reply.Outs = append(reply.Outs, Out{Data: d.Data, Segment: d.Segment, Remote: d.Remote, Local: d.Local, ECN: 2})
		}
		read := cpuTime()
		server.Write(&reply)
		end := cpuTime()
		reading += read - start
		writing += end - read
		trains += in.N
		for client.Read(&back) > 0 && back.More {
		}
	}
	if trains < b.N*sockets*9/10 {
		b.Fatalf("%d trains of %d arrived", trains, b.N*sockets)
	}
	b.ReportMetric(float64(reading)/float64(trains), "read-ns/train")
	b.ReportMetric(float64(writing)/float64(trains), "write-ns/train")
}

// cpuTime is what the process has used, in nanoseconds.
func cpuTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}
