#!/usr/bin/env bash
# Builds the Kubernetes binaries that the tests and the demo run, into
# bin/kubernetes/, from the modules that go.mod beside this file pins: etcd,
# kube-apiserver, kube-controller-manager and kubectl. `build.sh node` builds
# what a node needs as well: kube-scheduler, kubelet, kube-proxy, and CoreDNS
# from ../coredns. Nothing is downloaded but Go modules.
#
# go.mod requires k8s.io/kubernetes and etcd, and replaces every staging module
# (k8s.io/api, k8s.io/client-go, ...) by its published version, as the modules
# inside the Kubernetes tree cannot be resolved from outside. To move to
# another release, change k8s.io/kubernetes and all replacements together, run
# `go mod tidy` here, and `make kubernetes`.
#
# When KUBEBUILDER_ASSETS is set, the binaries there are used instead and
# nothing is built. They must match what envtest and the demo call by name.
set -euo pipefail
cd "$(dirname "$0")"

targets=(
	etcd:go.etcd.io/etcd/server/v3
	kube-apiserver:k8s.io/kubernetes/cmd/kube-apiserver
	kube-controller-manager:k8s.io/kubernetes/cmd/kube-controller-manager
	kubectl:k8s.io/kubernetes/cmd/kubectl
)
needed=(etcd kube-apiserver kubectl)
stamp=.stamp
sources=(go.mod go.sum build.sh)
case ${1:-} in
"") ;;
node)
	./build.sh
	targets=(
		kube-scheduler:k8s.io/kubernetes/cmd/kube-scheduler
		kubelet:k8s.io/kubernetes/cmd/kubelet
		kube-proxy:k8s.io/kubernetes/cmd/kube-proxy
		coredns:.
	)
	needed=(kube-controller-manager kube-scheduler kubelet kube-proxy coredns)
	stamp=.stamp-node
	sources+=(../coredns/go.mod ../coredns/go.sum ../coredns/main.go)
	;;
*)
	echo "usage: build.sh [node]" >&2
	exit 2
	;;
esac

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	missing=()
	for name in "${needed[@]}"; do
		[[ -x $KUBEBUILDER_ASSETS/$name ]] || missing+=("$name")
	done
	if ((${#missing[@]})); then
		echo "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, but it lacks: ${missing[*]}." >&2
		echo "Unset it to have them built from source, or point it to a directory that has them." >&2
		exit 1
	fi
	exit 0
fi

out=$(cd ../.. && pwd)/bin/kubernetes
log=$out/build.log
# What the binaries are made of: when it is unchanged, they are up to date.
want=$(cat "${sources[@]}" | git hash-object --stdin)
if [[ $(cat "$out/$stamp" 2>/dev/null) == "$want" ]]; then
	exit 0
fi
mkdir -p "$out"
rm -f "$out/$stamp"

export CGO_ENABLED=0 GOWORK=off
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes 2>"$log") || {
	cat "$log" >&2
	exit 1
}
IFS=. read -r major minor _ <<<"${version#v}"
pkg=k8s.io/component-base/version
ldflags="-s -w -X $pkg.gitVersion=$version -X $pkg.gitMajor=$major -X $pkg.gitMinor=$minor"

echo "Building Kubernetes $version${1:+ for a node} from source, once: 10 to 20 minutes on 2 cores from empty caches"
for target in "${targets[@]}"; do
	name=${target%%:*} package=${target#*:} module=.
	[[ $name != coredns ]] || module=../coredns
	start=$SECONDS
	printf '  %-24s' "$name"
	if ! go -C "$module" build -trimpath -ldflags "$ldflags" -o "$out/$name" "$package" 2>"$log"; then
		echo "failed"
		cat "$log" >&2
		exit 1
	fi
	printf '%4d s\n' $((SECONDS - start))
done
rm -f "$log"
echo "$want" >"$out/$stamp"
