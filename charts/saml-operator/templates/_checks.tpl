{{/* Fails for values that are right one by one and cannot work together. */}}
{{- define "saml.check" -}}
{{- $postgresql := eq .Values.gateway.database.type "PostgreSQL" -}}
{{- $gateway := .Values.gateway -}}
{{- if and (not $postgresql) (gt (include "saml.gatewayReplicas" . | int) 1) -}}
{{- fail (printf "gateway.replicas is %v, but SQLite serves one gateway: set gateway.database.type to PostgreSQL, or gateway.replicas to 1" $gateway.replicas) -}}
{{- end -}}
{{- with $gateway.horizontalPodAutoscaler -}}
{{- if and .enabled (not $postgresql) -}}
{{- fail "gateway.horizontalPodAutoscaler is enabled, but SQLite serves one gateway: set gateway.database.type to PostgreSQL" -}}
{{- end -}}
{{- if and .enabled (not (kindIs "invalid" $gateway.replicas)) -}}
{{- fail "gateway.replicas and gateway.horizontalPodAutoscaler.enabled are both set, but one of them says how many: leave gateway.replicas out" -}}
{{- end -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "gateway.horizontalPodAutoscaler.minReplicas is %v, which is more than maxReplicas, %v" .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- with $gateway.extAuthz -}}
{{- if and .enabled .clientCASecretName (not $.Values.tls.enabled) -}}
{{- fail "gateway.extAuthz.clientCASecretName is set, but the gateway has no certificate to show: set tls.enabled to true" -}}
{{- end -}}
{{- if and .enabled (not .clientCASecretName) (not $.Values.networkPolicies.enabled) -}}
{{- fail "gateway.extAuthz is enabled, but whoever reaches its port would be believed: set networkPolicies.enabled to true, or gateway.extAuthz.clientCASecretName" -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.service.externalTrafficPolicy (eq $gateway.service.type "ClusterIP") -}}
{{- fail "gateway.service.externalTrafficPolicy is set, but counts for the types LoadBalancer and NodePort only: set gateway.service.type, or leave it out" -}}
{{- end -}}
{{- if and .Values.tls.certificate.create (not .Values.tls.certificate.issuerRef.name) -}}
{{- fail "tls.certificate.create is true: name the issuer in tls.certificate.issuerRef.name" -}}
{{- end -}}
{{- with .Values.routing -}}
{{- if and (ne .type "None") $.Values.tls.enabled -}}
{{- fail (printf "routing.type is %s, by which TLS ends in front of the gateway: set tls.enabled to false" .type) -}}
{{- end -}}
{{- with .httpRoute -}}
{{- if and (eq $.Values.routing.type "HTTPRoute") (not .parentRefs) (not .gateway.className) -}}
{{- fail "routing.type is HTTPRoute: name your Gateway in routing.httpRoute.parentRefs, or the class of a new one in routing.httpRoute.gateway.className" -}}
{{- end -}}
{{- if and .parentRefs .gateway.className -}}
{{- fail "routing.httpRoute has both parentRefs and gateway.className: the routes are attached to your Gateway or to a new one, so leave one of them out" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Fails if one of the .extra arguments sets what .args of the .of have set. */}}
{{- define "saml.checkExtraArgs" -}}
{{- $set := dict -}}
{{- range .args -}}
{{- $_ := set $set (splitList "=" . | first) true -}}
{{- end -}}
{{- range .extra -}}
{{- if hasKey $set (splitList "=" . | first) -}}
{{- fail (printf "%s.extraArgs has %s, which the chart sets itself: use the value for it" $.of (splitList "=" . | first)) -}}
{{- end -}}
{{- end -}}
{{- end }}
