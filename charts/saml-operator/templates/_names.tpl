{{/* What Helm's users expect to find on each object, beside app.kubernetes.io/name. */}}
{{- define "saml.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* An image of .root by its entry in the values, .image. */}}
{{- define "saml.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The name of a binding that each installation in a cluster has. */}}
{{- define "saml.clusterRoleBinding" -}}
{{ .Values.clusterRoles.install | ternary "saml-operator" (printf "saml-operator-%s" .Release.Namespace) }}
{{- end }}

{{/* The gateway's replicas, by their default if none are set. */}}
{{- define "saml.gatewayReplicas" -}}
{{- if kindIs "invalid" .Values.gateway.replicas -}}
{{ eq .Values.gateway.database.type "PostgreSQL" | ternary 2 1 }}
{{- else -}}
{{ .Values.gateway.replicas }}
{{- end -}}
{{- end }}

{{/* The constraints of .workload, which .spread says to have in any case. */}}
{{- define "saml.topologySpreadConstraints" -}}
{{- $constraints := .values.topologySpreadConstraints -}}
{{- if and (kindIs "invalid" $constraints) .spread -}}
{{- $constraints = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $all := list -}}
{{- range $constraints -}}
{{- $all = append $all (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" $.workload)))) -}}
{{- end -}}
{{- with $all -}}
topologySpreadConstraints:
{{ toYaml . }}
{{- end -}}
{{- end }}

{{/* Where the pods of .values may run. */}}
{{- define "saml.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "saml.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The objects in the files that match .glob, as a list below the key objects. The
files are those of config/, which `make manifests` copies. They get what kustomize
would have set in them: the namespace, also of the service accounts that they
name, and beyond that our labels.
*/}}
{{- define "saml.objects" -}}
{{- $root := .root -}}
{{- $objects := list -}}
{{- range $path, $bytes := $root.Files.Glob .glob -}}
{{- range regexSplit "(?m)^---$" (toString $bytes) -1 -}}
{{- $object := fromYaml . -}}
{{- if hasKey $object "kind" -}}
{{- $metadata := $object.metadata -}}
{{- if not (has $object.kind (list "ClusterRole" "ClusterRoleBinding" "CustomResourceDefinition")) -}}
{{- $_ := set $metadata "namespace" $root.Release.Namespace -}}
{{- end -}}
{{- if eq $object.kind "ClusterRoleBinding" -}}
{{- $_ := set $metadata "name" (regexReplaceAll "^saml-operator" $metadata.name (include "saml.clusterRoleBinding" $root)) -}}
{{- end -}}
{{- range $object.subjects -}}
{{- $_ := set . "namespace" (.namespace | default $root.Release.Namespace) -}}
{{- end -}}
{{- $_ := set $metadata "labels" (merge (include "saml.labels" $root | fromYaml) ($metadata.labels | default dict)) -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "objects" $objects | toYaml -}}
{{- end }}
