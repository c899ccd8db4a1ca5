package authz

import (
	"context"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"cequence.cloud/saml-operator/internal/gateway/server"
)

// maxMessage bounds what Envoy sends of a request, which has no body.
const maxMessage = 256 << 10

// connectionTimeout bounds the handshake of a connection, which also holds up
// the end of the server.
const connectionTimeout = 10 * time.Second

// NewEnvoy returns a gRPC server with envoy.service.auth.v3.Authorization and
// grpc.health.v1.Health, by which it serves while ready returns nil. Who can
// reach it is believed what was asked for.
func NewEnvoy(a Authorizer, ready func() error, o ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append([]grpc.ServerOption{grpc.MaxRecvMsgSize(maxMessage), grpc.ConnectionTimeout(connectionTimeout)}, o...)...)
	authv3.RegisterAuthorizationServer(s, envoy{authorizer: a})
	healthv1.RegisterHealthServer(s, health{ready: ready})
	return s
}

// health tells who asks, and nobody who wants to watch: then clients take the
// server for healthy.
type health struct {
	healthv1.UnimplementedHealthServer
	ready func() error
}

// Check implements healthv1.HealthServer.
func (h health) Check(_ context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if name := r.GetService(); name != "" && name != authv3.Authorization_ServiceDesc.ServiceName {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	if h.ready() != nil {
		return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

type envoy struct {
	authv3.UnimplementedAuthorizationServer
	authorizer Authorizer
}

// Check implements authv3.AuthorizationServer.
func (e envoy) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r, err := request(ctx, check)
	if err != nil {
		return denied(answer{status: http.StatusBadRequest}), nil
	}
	answer := ask(e.authorizer, r)
	if !answer.allowed {
		return denied(answer), nil
	}
	return allowed(answer, r), nil
}

// request returns the request that Envoy asks about. Envoy joins the values of
// a header that came several times: by "; " for cookies, else by ",".
func request(ctx context.Context, check *authv3.CheckRequest) (*http.Request, error) {
	asked := check.GetAttributes().GetRequest().GetHttp()
	r := (&http.Request{Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}).WithContext(ctx)
	r.RemoteAddr = check.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress()
	for name, value := range asked.GetHeaders() {
		if !strings.HasPrefix(name, ":") {
			if _, twice := r.Header[http.CanonicalHeaderKey(name)]; twice {
				return nil, errRequest
			}
			r.Header.Set(name, value)
		}
	}
	return r, original(r, asked.GetMethod(), asked.GetHost(), asked.GetPath())
}

func allowed(a answer, r *http.Request) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for name, values := range a.identity {
		ok.Headers = append(ok.Headers, set(name, values[0]))
	}
	for name := range r.Header {
		// Envoy removes after it has set.
		if server.Reserved(name) && !envoysOwn(name) && a.identity[name] == nil {
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		}
	}
	if before := r.Header.Get("Cookie"); before != "" {
		server.RemoveOwnCookies(r.Header)
		if after := r.Header.Get("Cookie"); after == "" {
			ok.HeadersToRemove = append(ok.HeadersToRemove, "cookie")
		} else if after != before {
			ok.Headers = append(ok.Headers, set("Cookie", after))
		}
	}
	for _, cookie := range a.header.Values("Set-Cookie") {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, add("Set-Cookie", cookie))
	}
	if len(ok.ResponseHeadersToAdd) > 0 {
		// A shared cache would hand the cookie to others.
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, set("Cache-Control", "no-store"))
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// envoysOwn says whether Envoy itself has set the header, by its own rules of
// whom to trust.
func envoysOwn(name string) bool {
	return strings.EqualFold(name, "X-Forwarded-For") || strings.EqualFold(name, "X-Forwarded-Proto")
}

func denied(a answer) *authv3.CheckResponse {
	response := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.status)}, //nolint:gosec // a status of HTTP
		Body:   string(a.body),
	}
	for name, values := range a.header {
		for i, value := range values {
			if i == 0 { // Envoy's own, such as its Content-Type, goes
				response.Headers = append(response.Headers, set(name, value))
			} else {
				response.Headers = append(response.Headers, add(name, value))
			}
		}
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: response},
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return option(name, value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
}

func add(name, value string) *corev3.HeaderValueOption {
	return option(name, value, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
}

func option(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: strings.ToLower(name), Value: value}, AppendAction: action, KeepEmptyValue: true,
	}
}
