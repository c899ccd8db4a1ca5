package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// calls is a gRPC server that says who calls, and echoes.
type calls struct {
	pb.UnimplementedTestServiceServer
}

func caller(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if user := md.Get("x-auth-request-user"); len(user) == 1 {
		return user[0]
	}
	return "nobody"
}

func (calls) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-last", "word"))
	if r.GetResponseStatus() != nil {
		return nil, status.Error(codes.Code(r.GetResponseStatus().GetCode()), r.GetResponseStatus().GetMessage()) //nolint:gosec // a code
	}
	return &pb.SimpleResponse{Username: caller(ctx), Payload: r.GetPayload()}, nil
}

func (calls) StreamingOutputCall(r *pb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for _, p := range r.GetResponseParameters() {
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err //nolint:wrapcheck // gRPC's
		}
	}
	return nil
}

func (calls) FullDuplexCall(stream grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err //nolint:wrapcheck // gRPC's
		}
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err //nolint:wrapcheck // gRPC's
		}
	}
}

// gRPC passes from a real client to a real server, which speaks HTTP/2 in plain
// text, and to no other than those who are signed in.
func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, calls{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	application := url.URL{Scheme: "h2c", Host: listener.Addr().String()}
	t.Run("of the gateway", func(t *testing.T) {
		checkGRPC(t, newWorld(t, func(_ *world, o *gateway.Options) { o.Upstream = &application }))
	})
	t.Run("of a tenant", func(t *testing.T) {
		checkGRPC(t, newWorld(t, tenantUpstreams("127.0.0.1/32"), configured(func(c *tenantconfig.Config) { c.Application.Upstream = application.String() })))
	})
}

func checkGRPC(t *testing.T, w *world) {
	p := w.person()
	p.signIn(acme)
	conn, err := grpc.NewClient("passthrough:///"+host(acme),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(w.roots, "")),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", w.server.Listener.Addr().String())
		}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	client := pb.NewTestServiceClient(conn)

	_, err = client.UnaryCall(t.Context(), &pb.SimpleRequest{})
	assert.Equal(t, codes.Unauthenticated, status.Code(err), "without a session: %v", err)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "cookie", p.cookies(acme)[0].String(), "x-auth-request-user", "root")

	payload := &pb.Payload{Body: make([]byte, 1<<20)}
	var trailer metadata.MD
	response, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload}, grpc.Trailer(&trailer))
	require.NoError(t, err)
	assert.Equal(t, "alice@acme.example", response.GetUsername())
	assert.Len(t, response.GetPayload().GetBody(), len(payload.GetBody()))
	assert.Equal(t, []string{"word"}, trailer.Get("x-last"))

	_, err = client.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.Aborted), Message: "no"}}, grpc.Trailer(&trailer))
	assert.Equal(t, status.New(codes.Aborted, "no").Err(), err, "the status is a trailer")
	assert.Equal(t, []string{"word"}, trailer.Get("x-last"))

	messages, err := client.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}, {Size: 100_000}, {Size: 3}}})
	require.NoError(t, err)
	var sizes []int
	for {
		message, err := messages.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		sizes = append(sizes, len(message.GetPayload().GetBody()))
	}
	assert.Equal(t, []int{1, 100_000, 3}, sizes)

	talk, err := client.FullDuplexCall(ctx)
	require.NoError(t, err)
	for _, said := range []string{"one", "two", "three"} {
		require.NoError(t, talk.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte(said)}}))
		heard, err := talk.Recv()
		require.NoError(t, err)
		assert.Equal(t, said, string(heard.GetPayload().GetBody()))
	}
	require.NoError(t, talk.CloseSend())
	_, err = talk.Recv()
	assert.ErrorIs(t, err, io.EOF)
}
