package rig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/peers"
	"cequence.cloud/saml-operator/test/traffic"
)

// How long after its end an outage may be felt.
const (
	// killNoticed: the kubelet looks at containers each second, and tells the
	// API server, and kube-proxy takes the address out.
	killNoticed = 10 * time.Second
	// databaseNoticed: connections are made anew.
	databaseNoticed = 5 * time.Second
	providerNoticed = time.Second
	// leaderNoticed: a Lease is good for 15 s, and then another one starts.
	leaderNoticed = 25 * time.Second
	// apiServerNoticed: kube-proxy watches again within a minute, and then
	// operator and gateway within another.
	apiServerNoticed = 130 * time.Second
	// keyNoticed is what a key that was replaced without warning may take.
	keyNoticed = 10 * time.Second
)

// Outages so far.
func (r *Rig) Outages() []traffic.Outage {
	r.mu.Lock()
	defer r.mu.Unlock()
	var outages []traffic.Outage
	for _, o := range r.outages {
		outages = append(outages, *o)
	}
	return outages
}

// Calm says whether no outage of a part is felt any more.
func (r *Rig) Calm(part traffic.Part) bool {
	return !slices.ContainsFunc(r.Outages(), func(o traffic.Outage) bool { return o.Part == part && o.To.After(time.Now()) })
}

// begin notes that a part is away from now on; end that it is back, and how long
// that may go unnoticed.
func (r *Rig) begin(part traffic.Part, tenant string) (end func(noticed time.Duration)) {
	o := &traffic.Outage{Part: part, Tenant: tenant, From: time.Now(), To: time.Now().Add(24 * time.Hour)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outages = append(r.outages, o)
	return func(noticed time.Duration) {
		r.mu.Lock()
		defer r.mu.Unlock()
		o.Back = time.Now()
		o.To = o.Back.Add(noticed)
	}
}

// KillLeader kills the operator's pod that works.
func (r *Rig) KillLeader(ctx context.Context) (how string, err error) {
	leader, err := r.Leader(ctx, Namespace)
	if err != nil {
		return "", err
	}
	end := r.begin(traffic.Operator, "")
	defer end(leaderNoticed)
	return r.Kill(ctx, &leader)
}

// KillGateway kills a pod of the gateway.
func (r *Rig) KillGateway(ctx context.Context, pod *corev1.Pod) (how string, err error) {
	end := r.begin(traffic.Replica, "")
	how, err = r.Kill(ctx, pod)
	end(killNoticed)
	return how, err
}

// WithoutDrain does something that ends pods of the gateway which close their port
// at once, while nodes still send them connections.
func (r *Rig) WithoutDrain(do func() error) error {
	end := r.begin(traffic.Replica, "")
	defer end(killNoticed)
	return do()
}

// WithoutAPIServer stops the API server for that long.
func (r *Rig) WithoutAPIServer(ctx context.Context, d time.Duration) error {
	end := r.begin(traffic.APIServer, "")
	defer end(apiServerNoticed)
	return r.without(ctx, d,
		func() error { return r.Cluster.Stop(ctx, "kube-apiserver") },
		func() error { return r.Cluster.Start(context.WithoutCancel(ctx), "kube-apiserver") })
}

// WithoutDatabase stops PostgreSQL for that long.
func (r *Rig) WithoutDatabase(ctx context.Context, d time.Duration) error {
	end := r.begin(traffic.Database, "")
	defer end(databaseNoticed)
	return r.without(ctx, d, r.Database.Stop, r.Database.Start)
}

// WithoutProvider stops an identity provider for that long.
func (r *Rig) WithoutProvider(ctx context.Context, p *peers.Provider, d time.Duration) error {
	end := r.begin(traffic.Provider, p.Tenant)
	defer end(providerNoticed)
	return r.without(ctx, d, p.Stop, p.Start)
}

// without leaves nothing stopped, whatever comes in between.
func (r *Rig) without(ctx context.Context, d time.Duration, stop, start func() error) error {
	if err := stop(); err != nil {
		return errors.Join(err, start())
	}
	Pause(ctx, d)
	return start()
}

// SwitchKey has an identity provider sign with a key that nobody has seen.
func (r *Rig) SwitchKey(p *peers.Provider) error {
	end := r.begin(traffic.Key, p.Tenant)
	defer end(keyNoticed)
	return p.RotateAbruptly()
}

// GatewayPods returns the gateway's pods, the oldest first.
func (r *Rig) GatewayPods(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := r.Pods(ctx, Namespace, cluster.Gateway)
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	if err == nil && len(pods) == 0 {
		err = fmt.Errorf("no pod of %s runs", cluster.Gateway)
	}
	return pods, err
}

// Pause waits, and reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
