{{- define "csi-driver-spiffe.labels" -}}
app.kubernetes.io/name: csi-driver-spiffe
{{- range list "app.kubernetes.io/name" "app.kubernetes.io/component" }}
{{- if hasKey ($.Values.commonLabels | default dict) . }}
{{- fail (printf "commonLabels: %s is what pods are selected by, and cannot be another: take it out" .) }}
{{- end }}
{{- end }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "csi-driver-spiffe.selector" -}}
app.kubernetes.io/name: csi-driver-spiffe
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of an object of one component: (dict "root" $ "component" "driver") */}}
{{- define "csi-driver-spiffe.componentLabels" -}}
app.kubernetes.io/component: {{ .component }}
{{ include "csi-driver-spiffe.labels" .root }}
{{- end }}

{{/* The name of a cluster-wide object, which no other installation has: (dict "root" $ "name" "csi-driver-spiffe") */}}
{{- define "csi-driver-spiffe.clusterName" -}}
{{ .name }}.{{ .root.Release.Namespace }}
{{- end }}

{{/* An image: (dict "root" $ "component" "driver") */}}
{{- define "csi-driver-spiffe.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- get $image.repository .component -}}
{{- with get ($image.digest | default dict) .component }}@{{ . }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The labels of an object with other labels over them: (dict "root" $ "component" "driver" "labels" .labels), the component may be left out. */}}
{{- define "csi-driver-spiffe.labelsAnd" -}}
{{- $labels := include (ternary "csi-driver-spiffe.componentLabels" "csi-driver-spiffe.labels" (hasKey . "component")) (ternary . .root (hasKey . "component")) | fromYaml -}}
{{- mergeOverwrite $labels (deepCopy (.labels | default dict)) | toYaml -}}
{{- end }}

{{/* The configuration file: what the values say, and over it config. What the chart needs of it is always there. */}}
{{- define "csi-driver-spiffe.config" -}}
{{- $app := .Values.app -}}
{{- $issuer := dict "name" $app.issuer.name "kind" $app.issuer.kind "group" $app.issuer.group -}}
{{- $certificate := dict "duration" $app.certificateRequestDuration -}}
{{- with $app.extraCertificateRequestAnnotations -}}
{{- $annotations := . -}}
{{- if kindIs "string" . -}}
{{- $annotations = dict -}}
{{- range splitList "," . -}}
{{- if not (contains "=" .) -}}
{{- fail (printf "app.extraCertificateRequestAnnotations: %q is not KEY=VALUE" .) -}}
{{- end -}}
{{- $pair := splitn "=" 2 . -}}
{{- $_ := set $annotations $pair._0 $pair._1 -}}
{{- end -}}
{{- end -}}
{{- $_ := set $certificate "requestAnnotations" $annotations -}}
{{- end -}}
{{- $files := dict "certificate" $app.driver.volumeFileName.cert "privateKey" $app.driver.volumeFileName.key "trustBundle" $app.driver.volumeFileName.ca -}}
{{- /* Well below app.driver.resources.limits.memory, which it counts against. */ -}}
{{- $volume := dict "tmpfsPath" "/var/run/csi-driver-spiffe" "tmpfsSize" "128Mi" "files" $files -}}
{{- $driver := dict "name" $app.name "kubeletRootDir" "/var/lib/kubelet" "httpAddress" (printf ":%v" $app.driver.metrics.port) -}}
{{- $approver := dict "httpAddress" (printf ":%v" $app.approver.metrics.port) -}}
{{- $level := $app.logLevel -}}
{{- if not (kindIs "string" $level) -}}
{{- $level = ternary "debug" "info" (ge (int $level) 4) -}}
{{- else if regexMatch "^[0-9]+$" $level -}}
{{- $level = ternary "debug" "info" (ge (int $level) 4) -}}
{{- end -}}
{{- $config := dict
  "apiVersion" "config.spiffe.csi.cert-manager.io/v1alpha1" "kind" "SPIFFEConfiguration"
  "trustDomain" $app.trustDomain "issuerRef" $issuer "certificate" $certificate "volume" $volume
  "trustBundle" (dict "path" ($app.driver.sourceCABundle | default ""))
  "driver" $driver "approver" $approver "observability" (dict "logging" (dict "level" $level))
-}}
{{- $over := deepCopy (.Values.config | default dict) -}}
{{- include "csi-driver-spiffe.dropNull" $over -}}
{{- $merged := mergeOverwrite $config $over -}}
{{- $text := toYaml $merged -}}
{{- /* toYaml does not escape line breaks of Unicode, which end a line in the ConfigMap. JSON is YAML, too. */ -}}
{{- if regexMatch "[\\x{0085}\\x{2028}\\x{2029}]" $text -}}
{{- toJson $merged | replace "\u0085" "\\u0085" -}}
{{- else -}}
{{- $text -}}
{{- end -}}
{{- end }}

{{/* Takes out of a map, and of those in it, what is null: nothing is said about that. */}}
{{- define "csi-driver-spiffe.dropNull" -}}
{{- range $name, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $ $name -}}
{{- else if kindIs "map" $value -}}
{{- include "csi-driver-spiffe.dropNull" $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Fails if the API server would reject the volumes of the driver's pods, for a name or folder that is there twice or a
volume that is not there: (dict "values" .Values.app.driver "folders" the folders that the chart mounts itself,
"ownBundle" whether the chart has the volume trust-bundle) */}}
{{- define "csi-driver-spiffe.checkVolumes" -}}
{{- $volumes := list "config" "plugin" "registration" "pods" "tmpfs" -}}
{{- range .values.volumes -}}
{{- if has .name $volumes -}}
{{- fail (printf "app.driver.volumes: there is another volume of the name %q: take another name" .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- if .ownBundle -}}
{{- $volumes = append $volumes "trust-bundle" -}}
{{- end -}}
{{- range .values.volumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "app.driver.volumeMounts: there is no volume of the name %q: add it to app.driver.volumes" .name) -}}
{{- end -}}
{{- end -}}
{{- $folders := list -}}
{{- range concat .folders (.values.volumeMounts | default list) -}}
{{- $folder := . -}}
{{- if kindIs "map" . }}{{ $folder = .mountPath }}{{ end -}}
{{- if has $folder $folders -}}
{{- fail (printf "two volumes would be mounted at %s in the driver: change config.volume.tmpfsPath, config.driver.kubeletRootDir or app.driver.volumeMounts" $folder) -}}
{{- end -}}
{{- $folders = append $folders $folder -}}
{{- end -}}
{{- end }}

{{/* The port of an address to listen on. Probes need one: (dict "section" "driver" "config" $config) */}}
{{- define "csi-driver-spiffe.port" -}}
{{- $address := get (get .config .section) "httpAddress" -}}
{{- $port := regexFind "[0-9]+$" $address -}}
{{- if or (not $port) (regexMatch "^(127\\.|localhost|\\[::1\\])" $address) -}}
{{- fail (printf "config.%s.httpAddress is %q, where the kubelet's probes do not reach it: give it a port on all addresses, such as :9402" .section $address) -}}
{{- end -}}
{{- $port -}}
{{- end }}

{{/* The signers that the approver may approve for, as a list in JSON: (dict "root" $ "config" $config) */}}
{{- define "csi-driver-spiffe.signers" -}}
{{- $issuer := .config.issuerRef -}}
{{- if .root.Values.app.approver.signerName -}}
{{- list .root.Values.app.approver.signerName | toJson -}}
{{- else if (.config.approver).approveOthers -}}
{{- list "clusterissuers.cert-manager.io/*" "issuers.cert-manager.io/*" | toJson -}}
{{- else -}}
{{- $name := ternary $issuer.name "*" (hasSuffix "ClusterIssuer" $issuer.kind) -}}
{{- list (printf "%ss.%s/%s" (lower $issuer.kind) $issuer.group $name) | toJson -}}
{{- end -}}
{{- end }}

{{- define "csi-driver-spiffe.isOpenShift" -}}
{{- $enabled := .Values.openshift.securityContextConstraint.enabled -}}
{{- if eq (toString $enabled) "detect" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}true{{- end -}}
{{- else if eq (toString $enabled) "true" -}}true{{- end -}}
{{- end }}

{{/* The seconds of a duration such as 1h30m. */}}
{{- define "csi-driver-spiffe.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+[^0-9.]+" . -1 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $seconds = addf $seconds (mulf (float64 $number) (get $units (trimPrefix $number .) | default 0.0)) -}}
{{- end -}}
{{- $seconds -}}
{{- end }}

{{/* How many seconds before its end an SVID should have been renewed for long: ten minutes, or for short ones half of
the time that is left when they are due. Given the configuration. */}}
{{- define "csi-driver-spiffe.nearExpiry" -}}
{{- $lifetime := include "csi-driver-spiffe.seconds" .certificate.duration | float64 -}}
{{- $threshold := minf 600 (divf $lifetime 6) -}}
{{- with .certificate.renewBefore -}}
{{- $threshold = minf $threshold (divf (include "csi-driver-spiffe.seconds" . | float64) 2) -}}
{{- end -}}
{{- with .certificate.renewBeforePercentage -}}
{{- $threshold = minf $threshold (divf (mulf $lifetime .) 200) -}}
{{- end -}}
{{- max 1 (floor $threshold | int) -}}
{{- end }}

{{/* Fails if a value is given that has no meaning any more, and says for each what to use instead. */}}
{{- define "csi-driver-spiffe.refuseRemoved" -}}
{{- $messages := list -}}
{{- range $path, $instead := .Files.Get "files/removed.yaml" | fromYaml -}}
{{- $value := $.Values -}}
{{- range splitList "." $path -}}
{{- $value = ternary (get $value .) "" (kindIs "map" $value) -}}
{{- end -}}
{{- if $value -}}
{{- $messages = append $messages (printf "  %s: %s" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- if $messages -}}
{{- fail (printf "these values have no meaning any more:\n%s\nIf you did not set them, they are defaults of the chart before this one: upgrade with --reset-then-reuse-values in place of --reuse-values." (join "\n" $messages)) -}}
{{- end -}}
{{- end }}

{{/* The environment of both: which pod this is. */}}
{{- define "csi-driver-spiffe.podEnvironment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- end }}

{{/* The probes of both. */}}
{{- define "csi-driver-spiffe.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  initialDelaySeconds: 5
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
