package grpctest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// service is gRPC's own test service.
type service struct {
	pb.UnimplementedTestServiceServer
	mu    sync.Mutex
	ended []error // why the contexts of calls that waited for it ended
}

// UnaryCall sends back what it was sent and as many bytes as it was asked for, the key "say" of the metadata as header and trailer. A request without
// a payload waits until the call ends.
func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if say := md.Get("say"); len(say) > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs("header", say[0])) // the client looks
		_ = grpc.SetTrailer(ctx, metadata.Pairs("trailer", say[0]))
	}
	if st := r.GetResponseStatus(); st != nil {
		return nil, status.Error(codes.Code(st.GetCode()), st.GetMessage())
	}
	if r.GetPayload() == nil {
		return nil, s.hold(ctx)
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: append(r.GetPayload().GetBody(), pattern(int(r.GetResponseSize()))...)}}, nil
}

// hold waits until the context ends, and notes why.
func (s *service) hold(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.ended = append(s.ended, ctx.Err())
	s.mu.Unlock()
	return status.FromContextError(ctx.Err()).Err()
}

// endings returns why calls that waited have ended, and forgets it.
func (s *service) endings() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ended
	s.ended = nil
	return e
}

// StreamingOutputCall sends messages of the sizes asked for. Asked for none it waits until the call ends.
func (s *service) StreamingOutputCall(r *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	if len(r.GetResponseParameters()) == 0 {
		if err := out.Send(&pb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		return s.hold(out.Context())
	}
	for _, p := range r.GetResponseParameters() {
		time.Sleep(time.Duration(p.GetIntervalUs()) * time.Microsecond)
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: pattern(int(p.GetSize()))}}); err != nil {
			return err
		}
	}
	return nil
}

// StreamingInputCall counts the bytes that it is sent.
func (s *service) StreamingInputCall(in grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	sum := 0
	for {
		r, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(r.GetPayload().GetBody())
	}
}

// FullDuplexCall answers each message by those that it asks for.
func (s *service) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	for {
		r, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range r.GetResponseParameters() {
			if err := both.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: pattern(int(p.GetSize()))}}); err != nil {
				return err
			}
		}
	}
}

// pattern returns bytes of which no two neighbouring pieces are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
