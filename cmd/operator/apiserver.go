package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const (
	apiServerRetry   = 2 * time.Second
	apiServerTimeout = 10 * time.Second
)

// awaitAPIServer waits while nobody answers at the API server's address, or until
// ctx ends. An operator that ended instead would be started again later and
// later, and be away for minutes after the API server is back. What is wrong
// otherwise, such as a certificate, is for the next request to say.
func awaitAPIServer(ctx context.Context, cluster *rest.Config, log logr.Logger) error {
	config := rest.CopyConfig(cluster)
	config.Timeout = apiServerTimeout
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	retry := time.NewTicker(apiServerRetry)
	defer retry.Stop()
	for said := false; ; said = true {
		_, err := api.ServerVersion()
		if err == nil || !away(err) {
			return nil
		}
		if !said {
			log.Info("waiting for the API server", "address", cluster.Host, "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
		}
	}
}

// away says that an API server is not there, or only starts.
func away(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Code >= http.StatusInternalServerError
	}
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err)
}
