#!/usr/bin/env bash
# Runs a suite against the product on a cluster: suite.sh e2e|chaos [FLAGS].
#
# By itself it starts a Kubernetes node on this machine for it, with images
# built from this tree, and ends the node afterwards; its logs stay in
# out/SUITE/node/log. With CLUSTER=current it takes the cluster that KUBECONFIG
# names, in which it makes the namespaces saml-operator-system and
# saml-operator-other; then the flags say which images to install, and where
# pods reach this machine (-tag, -image-prefix, -address).
#
# With PREVIOUS=REVISION, e2e begins with that version of the product, manifests
# and images, and upgrades it to this one and back before all else.
#
# It exits with 77 where the suite cannot be run, and says why.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:?e2e or chaos}
shift
build=(env CGO_ENABLED=0 go build -trimpath)
export KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$PWD/bin/kubernetes}

if [[ ${CLUSTER:-node} == current ]]; then
	"${build[@]}" -o "bin/$suite" "./test/$suite"
	exec "bin/$suite" -out="out/$suite.json" "$@"
fi

if ((EUID != 0)); then
	echo "$suite: cannot be run here: a node needs root. CLUSTER=current runs it on the cluster that KUBECONFIG names." >&2
	exit 77
fi
hack/install-node-packages.sh || {
	echo "$suite: cannot be run here: the packages that a node needs are missing and could not be installed" >&2
	exit 77
}
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || hack/install-test-packages.sh
"${build[@]}" -o bin/node ./hack/node
node=(bin/node -name "${NODE_NAME:-saml-$suite}" -state "out/$suite/node")
"${node[@]}" check # exits with 77 where there can be no node

# KUBEBUILDER_ASSETS may be set to what is built here: build it then, too.
if [[ $KUBEBUILDER_ASSETS == "$PWD/bin/kubernetes" ]]; then
	env -u KUBEBUILDER_ASSETS make kubernetes-node
else
	make kubernetes-node
fi
"${build[@]}" -o "bin/$suite" "./test/$suite"
"${build[@]}" -o bin/image ./hack/image
images=out/$suite/images
rm -rf "$images"
for version in suite-1 suite-2; do
	# Chaos upgrades nothing.
	[[ $suite == e2e || $version == suite-1 ]] || continue
	bin/image -out "$images/$version" -version "$version" saml-operator=./cmd/operator saml-gateway=./cmd/gateway
done
previous=out/$suite/previous
rm -rf "$previous"
if [[ $suite == e2e && -n ${PREVIOUS:-} ]]; then
	mkdir -p "$previous"
	git archive "$PREVIOUS" | tar -x -C "$previous"
	bin/image -source "$previous" -out "$images/previous" -version suite-0 saml-operator=./cmd/operator saml-gateway=./cmd/gateway
fi
bin/image -out "$images/suite-1" registry.k8s.io/pause:3.10=./hack/node/pause

end() { "${node[@]}" down || echo "$suite: the node did not end" >&2; }
trap end EXIT
"${node[@]}" down # what a run that was killed has left
"${node[@]}" up -images "$images/suite-1"
flags=(-out="out/$suite.json" -node="${node[*]}" -tag=suite-1)
if [[ $suite == e2e ]]; then
	"${node[@]}" load "$images"/suite-2/*.tar
	flags+=(-next-tag=suite-2)
	if [[ -n ${PREVIOUS:-} ]]; then
		"${node[@]}" load "$images"/previous/*.tar
		flags+=(-previous="$previous/config" -previous-tag=suite-0)
	fi
fi
"${node[@]}" exec "bin/$suite" "${flags[@]}" "$@"
