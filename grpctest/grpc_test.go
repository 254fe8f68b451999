package grpctest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	large      = 4 << 20 // the largest message that the tests send
	maxMessage = 2*large + 1024
)

// world is a server, and a client's connection to it.
type world struct {
	service *service
	server  *grpc.Server
	conn    godwit.Conn
}

// serve runs a gRPC server on all streams of the endpoint until the test has ended.
func serve(t *testing.T, e *godwit.Endpoint) (s *service, server *grpc.Server, stop func()) {
	s = &service{}
	server = grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	pb.RegisterTestServiceServer(server, s)
	served := make(chan error, 1)
	l := e.NetListener()
	go func() { served <- server.Serve(l) }()
	return s, server, func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		e.Close()
	}
}

// clientConn returns a gRPC client whose connections are streams of w.conn, and those streams.
func (w *world) clientConn(t *testing.T) (*grpc.ClientConn, *streams) {
	t.Helper()
	opened := new(streams)
	cc, err := grpc.NewClient("passthrough:///godwit",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the connection is encrypted already
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := w.conn.Stream(ctx)
			if err == nil {
				opened.add(c)
			}
			return c, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(true)),
	)
	if err != nil {
		t.Fatal(err)
	}
	return cc, opened
}

// streams are what a client has opened.
type streams struct {
	mu   sync.Mutex
	list []net.Conn
}

func (s *streams) add(c net.Conn) {
	s.mu.Lock()
	s.list = append(s.list, c)
	s.mu.Unlock()
}

func (s *streams) all() []net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// ways are the real networks and engines that everything is run over.
var ways = []struct {
	name           string
	server, client godwit.Config
}{
	{name: "Loopback"},
	{name: "Portable", server: godwit.Config{Engine: "portable"}, client: godwit.Config{Engine: "portable"}},
	{name: "Loss", client: godwit.Config{Impair: &godwit.Impair{Send: lossy, Receive: lossy, Seed: 5}}},
}

var lossy = godwit.Link{Loss: 0.05, Delay: time.Millisecond}

func TestGRPC(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			e, err := godwit.Listen("127.0.0.1:0", &way.server)
			if err != nil {
				t.Fatal(err)
			}
			service, server, stop := serve(t, e)
			defer stop()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := godwit.Dial(ctx, e.Addr().String(), &way.client)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseWithError(0, "")
			(&world{service, server, conn}).suite(t)
		})
	}
	// In virtual time; the subtests are those of the test outside its bubble.
	t.Run("Simulated", func(t *testing.T) {
		godwittest.Bubble(t, 5, lossy, func(_ *testing.T, n *godwittest.Net) {
			e := n.Listen(nil)
			service, server, stop := serve(t, e)
			defer stop()
			(&world{service, server, n.Dial(e, nil)}).suite(t)
		})
	})
}

// suite runs all tests on one connection, one after another.
func (w *world) suite(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*world, context.Context, *testing.T, pb.TestServiceClient)
	}{
		{"Unary", (*world).unary},
		{"Status", (*world).status},
		{"ServerStream", (*world).serverStream},
		{"ClientStream", (*world).clientStream},
		{"Bidirectional", (*world).bidirectional},
		{"Deadline", (*world).deadline},
		{"Cancel", (*world).cancel},
		{"Concurrent", (*world).concurrent},
		{"ManyStreams", (*world).manyStreams},
		{"LostStream", (*world).lostStream},
		{"GracefulStop", (*world).gracefulStop}, // the last: it stops the server
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			cc, opened := w.clientConn(t)
			c.test(w, ctx, t, pb.NewTestServiceClient(cc))
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
			if n := len(opened.all()); n != 1 {
				t.Errorf("the calls took %d streams", n)
			}
		})
	}
}

// call makes a unary call and checks the answer.
func call(ctx context.Context, t *testing.T, c pb.TestServiceClient, send, receive int) {
	t.Helper()
	body := pattern(send)
	r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(receive), Payload: &pb.Payload{Body: body}})
	if err != nil {
		t.Errorf("%d bytes there, %d more back: %v", send, receive, err)
		return
	}
	if got := r.GetPayload().GetBody(); !bytes.Equal(got, append(body, pattern(receive)...)) {
		t.Errorf("%d bytes there, %d more back: %d bytes, not those that were sent", send, receive, len(got))
	}
}

func (w *world) unary(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	for _, n := range []int{0, 1, 1200, 16 << 10, 70_000, 1 << 20, large} {
		call(ctx, t, c, n, 0)
		call(ctx, t, c, 1, n)
	}
	call(ctx, t, c, large, large)
}

func (w *world) status(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	const text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	ctx = metadata.AppendToOutgoingContext(ctx, "say", "hello")
	var header, trailer metadata.MD
	request := &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.DataLoss), Message: text}}
	_, err := c.UnaryCall(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
	if st := status.Convert(err); st.Code() != codes.DataLoss || st.Message() != text {
		t.Errorf("the status is %v", st)
	}
	_, err = c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{}}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || len(header.Get("header")) != 1 || header.Get("header")[0] != "hello" || len(trailer.Get("trailer")) != 1 {
		t.Errorf("header %v, trailer %v, %v", header, trailer, err)
	}
	if _, err := c.UnimplementedCall(ctx, &pb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, maxMessage)}}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message above the limit: %v", err)
	}
}

// sizes are those of the messages of streaming calls.
var sizes = []int{31415, 0, 9, 2653, large, 58979, 1, 16384}

func parameters() (list []*pb.ResponseParameters) {
	for _, n := range sizes {
		list = append(list, &pb.ResponseParameters{Size: int32(n)})
	}
	return list
}

func (w *world) serverStream(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	s, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: parameters()})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range sizes {
		r, err := s.Recv()
		if err != nil || !bytes.Equal(r.GetPayload().GetBody(), pattern(n)) {
			t.Fatalf("message %d: %d bytes, %v", i, len(r.GetPayload().GetBody()), err)
		}
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last message: %v", err)
	}
}

func (w *world) clientStream(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	s, err := c.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range sizes {
		sum += n
		if err := s.Send(&pb.StreamingInputCallRequest{Payload: &pb.Payload{Body: pattern(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.CloseAndRecv(); err != nil || int(r.GetAggregatedPayloadSize()) != sum {
		t.Errorf("%d bytes counted of %d, %v", r.GetAggregatedPayloadSize(), sum, err)
	}
}

// bidirectional plays ping-pong, and then sends without waiting for answers.
func (w *world) bidirectional(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	s, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(n int) {
		request := &pb.StreamingOutputCallRequest{
			ResponseParameters: []*pb.ResponseParameters{{Size: int32(n)}}, Payload: &pb.Payload{Body: pattern(100_000 - n)},
		}
		if err := s.Send(request); err != nil {
			t.Error(err)
		}
	}
	expect := func(n int) {
		if r, err := s.Recv(); err != nil || !bytes.Equal(r.GetPayload().GetBody(), pattern(n)) {
			t.Errorf("%d bytes of %d, %v", len(r.GetPayload().GetBody()), n, err)
		}
	}
	for n := range 50 {
		ask(n)
		expect(n)
	}
	go func() {
		for n := range 100 {
			ask(n * 1000)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	for n := range 100 {
		expect(n * 1000)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// ended waits until a call that the server held has ended there too, and returns why.
func (w *world) ended(t *testing.T) error {
	t.Helper()
	for range 1000 {
		if e := w.service.endings(); len(e) > 0 {
			return e[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the server's side of the call has not ended")
	return nil
}

func (w *world) deadline(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	call(ctx, t, c, 1, 1) // connected
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := c.UnaryCall(short, &pb.SimpleRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	if err := w.ended(t); err == nil {
		t.Error("the server's call ended without an error")
	}
	call(ctx, t, c, 1000, 1000)
}

// cancel cancels a call that has begun, and one of which the first answer has come.
func (w *world) cancel(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	begun, cancel := context.WithCancel(ctx)
	in, err := c.StreamingInputCall(begun)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := in.CloseAndRecv(); status.Code(err) != codes.Canceled {
		t.Errorf("canceled after it began: %v", err)
	}
	answered, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := c.StreamingOutputCall(answered, &pb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := out.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("canceled after the first answer: %v", err)
	}
	if err := w.ended(t); !errors.Is(err, context.Canceled) {
		t.Errorf("the server's call ended with %v", err)
	}
	call(ctx, t, c, 1000, 1000)
}

// concurrent makes many calls at a time on one stream, of which some have large messages.
func (w *world) concurrent(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	var all sync.WaitGroup
	for k := range 50 {
		all.Go(func() {
			for i := range 10 {
				call(ctx, t, c, 100*k+i, 50*k)
			}
			if k%25 == 0 {
				call(ctx, t, c, large/2, large/2)
			}
		})
	}
	all.Wait()
}

// manyStreams has several clients, each with a stream of its own on the connection.
func (w *world) manyStreams(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	call(ctx, t, c, 1, 1)
	var all sync.WaitGroup
	for k := range 10 {
		cc, _ := w.clientConn(t)
		all.Go(func() {
			defer cc.Close()
			c := pb.NewTestServiceClient(cc)
			for i := range 10 {
				call(ctx, t, c, 1000*k+i, 10_000)
			}
		})
	}
	all.Wait()
}

// lostStream has a client find another stream when its own is gone.
func (w *world) lostStream(ctx context.Context, t *testing.T, unused pb.TestServiceClient) {
	call(ctx, t, unused, 1, 1)
	cc, opened := w.clientConn(t)
	defer cc.Close()
	c := pb.NewTestServiceClient(cc)
	call(ctx, t, c, 100, 100)
	if err := opened.all()[0].(*godwit.Stream).Reset(7); err != nil {
		t.Error(err)
	}
	cc.WaitForStateChange(ctx, connectivity.Ready) // a call before that may still choose the stream that is gone
	call(ctx, t, c, 100, 100)
	if n := len(opened.all()); n != 2 {
		t.Errorf("%d streams", n)
	}
}

// gracefulStop has the server wait for the calls under way.
func (w *world) gracefulStop(ctx context.Context, t *testing.T, c pb.TestServiceClient) {
	s, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&pb.StreamingOutputCallRequest{ResponseParameters: parameters()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		w.server.GracefulStop()
		close(stopped)
	}()
	for _, n := range sizes[1:] {
		if r, err := s.Recv(); err != nil || len(r.GetPayload().GetBody()) != n {
			t.Errorf("%d bytes of %d, %v", len(r.GetPayload().GetBody()), n, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	<-stopped
}
