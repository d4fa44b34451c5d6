{{/* The objects' name: the release's where it holds the chart's already. */}}
{{- define "ftp-pooler.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* What selects the pods. */}}
{{- define "ftp-pooler.selector" -}}
app.kubernetes.io/name: ftp-pooler
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: pod
{{- end -}}

{{- define "ftp-pooler.labels" -}}
app.kubernetes.io/name: ftp-pooler
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
app.kubernetes.io/part-of: ftp-pooler
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "ftp-pooler.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "ftp-pooler.name" .) }}
{{- end -}}

{{- define "ftp-pooler.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "ftp-pooler.claim" -}}
{{- if .Values.storage.create -}}{{ include "ftp-pooler.name" . }}-storage{{- else -}}{{ .Values.storage.existingClaim }}{{- end -}}
{{- end -}}

{{/* With a hash of the content: config.yaml is read at the start, so a change of it is a rollout. */}}
{{- define "ftp-pooler.configMap" -}}
{{ include "ftp-pooler.name" . }}-config-{{ .Values.config | toJson | sha256sum | trunc 10 }}
{{- end -}}

{{- define "ftp-pooler.podSecurityContext" -}}
runAsNonRoot: true
{{- if not .Values.openshift }}
runAsUser: {{ .Values.securityContext.runAsUser }}
runAsGroup: {{ .Values.securityContext.runAsGroup }}
fsGroup: {{ .Values.securityContext.fsGroup }}
{{- end }}
# Millions of files must not be gone through at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ftp-pooler.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What every process of the image reads: its name, the variables of the secret. */}}
{{- define "ftp-pooler.environment" -}}
env:
  {{- if .Values.podNamePrefix }}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: FTP_POOLER__POD__NAME
    value: {{ printf "%s$(POD_NAME)" .Values.podNamePrefix | quote }}
  {{- else }}
  - name: FTP_POOLER__POD__NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- end }}
{{- if .Values.environmentSecret }}
envFrom:
  - secretRef: {name: {{ .Values.environmentSecret }}}
{{- end }}
{{- end -}}

{{- define "ftp-pooler.configVolumes" -}}
- name: config
  projected:
    sources:
      - configMap: {name: {{ include "ftp-pooler.configMap" . }}}
      - configMap: {name: {{ include "ftp-pooler.name" . }}-connections}
- name: secrets
  secret: {secretName: {{ .Values.filesSecret | default (printf "%s-files" (include "ftp-pooler.name" .)) }}, optional: true, defaultMode: 288}  # 0440
{{- end -}}
