package authz_test

import (
	"net"
	"net/http"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"cequence.cloud/saml-operator/internal/gateway/authz"
)

// onePath lets in who asks for one path of one host.
type onePath struct{}

func (onePath) Authorize(w http.ResponseWriter, r *http.Request) (http.Header, bool) {
	if r.Method == http.MethodGet && r.Host == "acme.example" && r.URL.Path == "/in" {
		return http.Header{"X-Auth-Request-User": {"alice"}}, true
	}
	if r.URL.Path == "/panic" {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path != "/silent" {
		w.WriteHeader(http.StatusUnauthorized)
	}
	return nil, false
}

// Row T9: whatever Envoy sends, there is an answer, and it is no yes to
// anything but what was decided on.
func FuzzCheck(f *testing.F) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	s := authz.NewEnvoy(onePath{}, func() error { return nil })
	f.Cleanup(s.Stop)
	go func() { _ = s.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	client := authv3.NewAuthorizationClient(conn)

	for _, path := range []string{"/in", "/in?a=b", "/%69n", "/in#", "//in", "/panic", "/silent", "/%zz", "*", "", "/in\x00", "http://acme.example/in"} {
		f.Add("GET", "acme.example", path, "cookie", "a=b")
	}
	f.Add("GET /", "acme.example, evil.example", "/in", "x-forwarded-uri", "/in")
	f.Fuzz(func(t *testing.T, method, host, path, name, value string) {
		response, err := client.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: method, Host: host, Path: path, Headers: map[string]string{name: value},
			}},
		}})
		if err != nil {
			return // not UTF-8; Envoy takes an error for a no
		}
		if response.GetStatus().GetCode() == int32(codes.OK) != (response.GetOkResponse() != nil) {
			t.Fatalf("half a yes: %v", response)
		}
		if response.GetOkResponse() != nil && (method != http.MethodGet || host != "acme.example") {
			t.Fatalf("let in: %q %q %q", method, host, path)
		}
		if denied := response.GetDeniedResponse(); denied != nil && denied.GetStatus().GetCode() < http.StatusMultipleChoices {
			t.Fatalf("a no that looks like a yes: %v", response)
		}
	})
}
