package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// An operator that starts while the API server is away goes on when it is back.
func TestAwaitAPIServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- awaitAPIServer(t.Context(), &rest.Config{Host: "http://" + address}, logr.Discard()) }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}

	answers := make(chan int, 2)
	answers <- http.StatusServiceUnavailable // it starts
	answers <- http.StatusOK
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(<-answers)
		_, _ = w.Write([]byte("{}"))
	}))
	if server.Listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer server.Close()
	if err := <-done; err != nil || len(answers) != 0 {
		t.Errorf("%v, with %d answers not asked for", err, len(answers))
	}
}

func TestAwaitAPIServerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := awaitAPIServer(ctx, &rest.Config{Host: "http://127.0.0.1:1"}, logr.Discard()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What waiting does not help is not waited for.
func TestAwaitAPIServerLeavesOtherErrors(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	for name, config := range map[string]*rest.Config{
		"a certificate that is not trusted": {Host: server.URL},
		"an address that is something else": {Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}},
	} {
		if err := awaitAPIServer(t.Context(), config, logr.Discard()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
