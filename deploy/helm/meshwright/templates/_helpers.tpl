{{- define "meshwright.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "meshwright.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "meshwright.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "meshwright.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "meshwright.selector" -}}
app.kubernetes.io/name: {{ include "meshwright.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meshwright.labels" -}}
{{ include "meshwright.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "meshwright.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "meshwright.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "meshwright.secretName" -}}
{{- default (include "meshwright.fullname" .) .Values.existingSecret -}}
{{- end -}}

{{/* What every pod has in common: who it runs as, and that nothing in the image can be changed. */}}
{{- define "meshwright.podSecurity" -}}
serviceAccountName: {{ include "meshwright.serviceAccountName" . }}
automountServiceAccountToken: false
# Else Kubernetes sets MESHWRIGHT_PORT=tcp://... for a Service called meshwright, and that is a setting of ours.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "meshwright.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "meshwright.env" -}}
envFrom:
  - configMapRef:
      name: {{ include "meshwright.fullname" . }}
  - secretRef:
      name: {{ include "meshwright.secretName" . }}
{{- end -}}

{{/* A pod is replaced when what it was told changes. */}}
{{- define "meshwright.checksums" -}}
checksum/config: {{ include (print .Template.BasePath "/configmap.yaml") . | sha256sum }}
checksum/secret: {{ include (print .Template.BasePath "/secret.yaml") . | sha256sum }}
{{- end -}}
