{{- define "pidwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pidwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "pidwatch.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pidwatch.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pidwatch.selector" -}}
app.kubernetes.io/name: {{ include "pidwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pidwatch.labels" -}}
{{ include "pidwatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pidwatch.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pidwatch.listen" -}}
{{- if .Values.agent.ipv6 -}}
[$(POD_IP)]:{{ .Values.agent.port }}
{{- else -}}
$(POD_IP):{{ .Values.agent.port }}
{{- end -}}
{{- end -}}

{{/* Not empty where the agent lowers limits. */}}
{{- define "pidwatch.brakes" -}}
{{- if and .Values.brake.enabled (not .Values.brake.dryRun) }}true{{ end -}}
{{- end -}}
