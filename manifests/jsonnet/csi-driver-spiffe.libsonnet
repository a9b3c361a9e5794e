// Driver and approver as Kubernetes objects, the same as those of manifests/base and of the Helm chart:
//
//   local spiffe = import 'csi-driver-spiffe.libsonnet';
//   spiffe.new({
//     namespace: 'cert-manager',
//     config: { trustDomain: 'my.trust.domain', issuerRef: { name: 'csi-driver-spiffe-ca' } },
//   }).list
//
// list is for `jsonnet FILE | kubectl apply -f -`; objects has each object under a name of its own, to be changed with +.
// The files of manifests/components/monitoring and manifests/components/admission must be where they are from here.
{
  // The parameters with their defaults. What is not here is refused.
  defaults:: {
    // Where everything goes.
    namespace: 'cert-manager',
    // The configuration file, any field of it; config/schema.json has them all.
    config: {
      apiVersion: 'config.spiffe.csi.cert-manager.io/v1alpha1',
      kind: 'SPIFFEConfiguration',
      trustDomain: 'cluster.local',
      issuerRef: { name: 'spiffe-ca' },
      // Well below resources.driver.limits.memory, which it counts against.
      volume: { tmpfsSize: '128Mi' },
    },
    // The images.
    images: {
      driver: 'ghcr.io/csi-driver-spiffe/csi-driver-spiffe:v0.1.0',
      approver: 'ghcr.io/csi-driver-spiffe/csi-driver-spiffe-approver:v0.1.0',
    },
    imagePullPolicy: 'IfNotPresent',
    imagePullSecrets: [],
    // The Secret in the same namespace whose key ca.crt is /trust-bundle/ca.crt in the driver, if it is there. To put it into
    // every volume, set config.trustBundle.path to that. null: none is mounted.
    caBundleSecret: 'csi-driver-spiffe-ca',
    // The number of approvers. 1: no PodDisruptionBudget, no anti-affinity.
    replicas: 2,
    // What the approver may approve for; null: the issuer of config.issuerRef and no other.
    signerNames: null,
    // Kubernetes 1.36 and later: the kubelet hands over tokens where no log shows them.
    tokenInSecrets: false,
    // The priority classes of the pods; null: none, for clusters that refuse these outside of kube-system.
    priorityClassNames: { driver: 'system-node-critical', approver: 'system-cluster-critical' },
    // The right to use the SecurityContextConstraints privileged; OpenShift chooses the approver's user, and lets pods in all
    // namespaces have volumes of the driver.
    openshift: false,
    // PodMonitor, ServiceMonitor, PrometheusRule and a Grafana dashboard.
    monitoring: false,
    // A NetworkPolicy that lets only metricsFrom, a list of NetworkPolicyPeers, and the kubelet reach the pods of both.
    networkPolicy: {
      enabled: false,
      metricsFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
    },
    // ValidatingAdmissionPolicies for CertificateRequests; manifests/components/admission explains them. Kubernetes 1.32 and
    // later: on a cluster whose tokens do not name the pod's node, every request of the driver is rejected.
    admission: false,
    resources: {
      driver: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '256Mi' } },
      approver: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '256Mi' } },
    },
    nodeSelector: { 'kubernetes.io/os': 'linux' },
  },

  new(parameters={}):: {
    local this = self,
    local unknown = std.setDiff(std.objectFields(parameters), std.objectFields($.defaults)),
    assert unknown == [] : 'csi-driver-spiffe.libsonnet has no parameter %s; known are %s' %
                           [std.join(', ', unknown), std.join(', ', std.objectFields($.defaults))],
    // mergePatch takes a null for "remove".
    local p = { caBundleSecret: null, signerNames: null } + std.mergePatch($.defaults, parameters),

    local get(section, field, default) = std.get(std.get(p.config, section, {}), field, default),
    local driverName = get('driver', 'name', 'spiffe.csi.cert-manager.io'),
    local kubelet = get('driver', 'kubeletRootDir', '/var/lib/kubelet'),
    local plugin = '%s/plugins/%s' % [kubelet, driverName],
    local tmpfs = get('volume', 'tmpfsPath', '/var/run/csi-driver-spiffe'),
    local leaseName = std.get(get('approver', 'leaderElection', {}), 'leaseName', 'csi-driver-spiffe-approver'),
    local port(section, default) =
      local address = get(section, 'httpAddress', default);
      local parts = std.split(address, ':');
      assert std.length(parts) > 1 && std.length(std.findSubstr('127.', address) + std.findSubstr('localhost', address) + std.findSubstr('[::1]', address)) == 0 :
             'config.%s.httpAddress is "%s", where the probes of the kubelet do not reach it: give it a port on all addresses' % [section, address];
      std.parseInt(parts[std.length(parts) - 1]),

    // The seconds of a duration such as 1h30m.
    local seconds(duration) =
      local units = { h: 3600, m: 60, s: 1, ms: 0.001 };
      local whole(digits) = if digits == '' then 0 else std.parseInt(digits);
      local number(text) =
        local parts = std.split(text, '.');
        whole(parts[0]) + (if std.length(parts) == 1 then 0 else whole(parts[1]) / std.pow(10, std.length(parts[1])));
      local add(so) = if so.unit == '' then so else { total: so.total + number(so.number) * std.get(units, so.unit, 0), number: '', unit: '' };
      local step(so, char) =
        if std.member('0123456789.', char) then add(so) + { number+: char }
        else if char == '+' then so
        else so { unit+: char };
      add(std.foldl(step, std.stringChars(duration), { total: 0, number: '', unit: '' })).total,

    // How many seconds before its end an SVID should have been renewed for long: ten minutes, or for short ones half of
    // the time that is left when they are due.
    local nearExpiry =
      local lifetime = seconds(get('certificate', 'duration', '1h'));
      local renewBefore = get('certificate', 'renewBefore', null);
      local percentage = get('certificate', 'renewBeforePercentage', null);
      std.max(1, std.floor(std.foldl(std.min, [
        lifetime / 6,
        if renewBefore == null then 600 else seconds(renewBefore) / 2,
        if percentage == null then 600 else lifetime * percentage / 200,
      ], 600))),

    local signerNames =
      local issuer = { kind: 'ClusterIssuer', group: 'cert-manager.io' } + p.config.issuerRef;
      if p.signerNames != null then p.signerNames
      else if get('approver', 'approveOthers', false) then ['clusterissuers.cert-manager.io/*', 'issuers.cert-manager.io/*']
      else ['%ss.%s/%s' % [
        std.asciiLower(issuer.kind),
        issuer.group,
        // An issuer that is not of the whole cluster is another one in each namespace.
        if std.endsWith(issuer.kind, 'ClusterIssuer') then issuer.name else '*',
      ]],

    local labels(component=null) = { 'app.kubernetes.io/name': 'csi-driver-spiffe' } +
                                   (if component == null then {} else { 'app.kubernetes.io/component': component }),
    local object(apiVersion, kind, name, component=null, namespaced=true) = {
      apiVersion: apiVersion,
      kind: kind,
      metadata: { name: name, labels: labels(component) } + (if namespaced then { namespace: p.namespace } else {}),
    },
    // The name of a cluster-wide object, which no other installation has.
    local clusterName(name) = '%s.%s' % [name, p.namespace],
    local rbac = 'rbac.authorization.k8s.io',
    local rbacName(kind, name) = if kind == 'ClusterRole' then clusterName(name) else name,
    local role(kind, name, component, rules) = object(rbac + '/v1', kind, rbacName(kind, name), component, kind == 'Role') { rules: rules },
    local binding(kind, name, component, account) = object(rbac + '/v1', kind + 'Binding', rbacName(kind, name), component, kind == 'Role') {
      roleRef: { apiGroup: rbac, kind: kind, name: rbacName(kind, name) },
      subjects: [{ kind: 'ServiceAccount', name: account, namespace: p.namespace }],
    },
    local rule(group, resource, verbs, names=null) =
      { apiGroups: [group], resources: [resource], verbs: verbs } + (if names == null then {} else { resourceNames: names }),

    local field(name, path) = { name: name, valueFrom: { fieldRef: { fieldPath: path } } },
    local podEnvironment = [
      field('POD_NAME', 'metadata.name'),
      field('POD_NAMESPACE', 'metadata.namespace'),
      field('POD_UID', 'metadata.uid'),
    ],
    // What the containers of both have.
    local container(name, image, httpPort) = {
      name: name,
      image: image,
      imagePullPolicy: p.imagePullPolicy,
      ports: [{ name: 'http', containerPort: httpPort, protocol: 'TCP' }],
      livenessProbe: {
        httpGet: { path: '/healthz', port: 'http' },
        initialDelaySeconds: 5,
        periodSeconds: 10,
        timeoutSeconds: 5,
        failureThreshold: 6,
      },
      readinessProbe: { httpGet: { path: '/readyz', port: 'http' }, periodSeconds: 5, timeoutSeconds: 5 },
      terminationMessagePolicy: 'FallbackToLogsOnError',
      volumeMounts: [{ name: 'config', mountPath: '/config', readOnly: true }],
    },
    local configVolume = { name: 'config', configMap: { name: 'csi-driver-spiffe' } },
    local pod = { nodeSelector: p.nodeSelector } +
                (if p.imagePullSecrets == [] then {} else { imagePullSecrets: p.imagePullSecrets }),
    local hostPath(name, path, type) = { name: name, hostPath: { path: path, type: type } },

    objects: {
      config: object('v1', 'ConfigMap', 'csi-driver-spiffe') {
        data: { 'config.yaml': std.manifestYamlDoc(p.config, indent_array_in_object=true, quote_keys=false) + '\n' },
      },

      csiDriver: object('storage.k8s.io/v1', 'CSIDriver', driverName, namespaced=false) {
        // OpenShift lets pods of all namespaces have such volumes; manifests/components/openshift explains it.
        metadata+: { labels+: if p.openshift then { 'security.openshift.io/csi-ephemeral-volume-profile': 'restricted' } else {} },
        spec: {
          attachRequired: false,
          volumeLifecycleModes: ['Ephemeral'],
          podInfoOnMount: true,
          tokenRequests: [{ audience: '', expirationSeconds: 3600 }],
          requiresRepublish: true,
          fsGroupPolicy: 'None',
        } + (if p.tokenInSecrets then { serviceAccountTokenInSecrets: true } else {}),
      },

      driverServiceAccount: object('v1', 'ServiceAccount', 'csi-driver-spiffe', 'driver'),
      driverClusterRole: role('ClusterRole', 'csi-driver-spiffe', 'driver', [
        rule('cert-manager.io', 'certificaterequests', ['get', 'list', 'watch', 'delete']),
      ]),
      driverClusterRoleBinding: binding('ClusterRole', 'csi-driver-spiffe', 'driver', 'csi-driver-spiffe'),
      driverRole: role('Role', 'csi-driver-spiffe', 'driver', [rule('events.k8s.io', 'events', ['create'])]),
      driverRoleBinding: binding('Role', 'csi-driver-spiffe', 'driver', 'csi-driver-spiffe'),

      // manifests/base/driver.yaml explains each line.
      driver: object('apps/v1', 'DaemonSet', 'csi-driver-spiffe', 'driver') {
        spec: {
          selector: { matchLabels: labels('driver') },
          updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%', maxSurge: 0 } },
          template: {
            metadata: { labels: labels('driver') },
            spec: pod {
              serviceAccountName: 'csi-driver-spiffe',
              [if std.objectHas(p.priorityClassNames, 'driver') then 'priorityClassName']: p.priorityClassNames.driver,
              tolerations: [{ operator: 'Exists' }],
              containers: [container('csi-driver-spiffe', p.images.driver, port('driver', ':9402')) {
                args: [
                  '--config=/config/config.yaml',
                  '--csi-socket=/csi/csi.sock',
                  '--kubelet-registration-path=%s/csi.sock' % plugin,
                  '--plugin-registration-path=/registration',
                  '--csidriver-object=%s' % driverName,
                ],
                env: [field('NODE_NAME', 'spec.nodeName')] + podEnvironment,
                resources: p.resources.driver,
                securityContext: { privileged: true, runAsUser: 0, readOnlyRootFilesystem: true },
                volumeMounts+: [
                  { name: 'plugin', mountPath: '/csi' },
                  { name: 'registration', mountPath: '/registration' },
                  { name: 'pods', mountPath: kubelet + '/pods', mountPropagation: 'Bidirectional' },
                  { name: 'tmpfs', mountPath: tmpfs, mountPropagation: 'Bidirectional' },
                ] + (
                  if p.caBundleSecret == null then []
                  else [{ name: 'trust-bundle', mountPath: '/trust-bundle', readOnly: true }]
                ),
              }],
              volumes: [
                configVolume,
                hostPath('plugin', plugin, 'DirectoryOrCreate'),
                hostPath('registration', kubelet + '/plugins_registry', 'Directory'),
                hostPath('pods', kubelet + '/pods', 'Directory'),
                hostPath('tmpfs', tmpfs, 'DirectoryOrCreate'),
              ] + (
                if p.caBundleSecret == null then []
                else [{
                  name: 'trust-bundle',
                  secret: { secretName: p.caBundleSecret, optional: true, items: [{ key: 'ca.crt', path: 'ca.crt' }] },
                }]
              ),
            },
          },
        },
      },

      approverServiceAccount: object('v1', 'ServiceAccount', 'csi-driver-spiffe-approver', 'approver'),
      approverClusterRole: role('ClusterRole', 'csi-driver-spiffe-approver', 'approver', [
        rule('cert-manager.io', 'signers', ['approve'], signerNames),
        rule('cert-manager.io', 'certificaterequests', ['list', 'watch']),
        rule('cert-manager.io', 'certificaterequests/status', ['update']),
        rule('events.k8s.io', 'events', ['create', 'patch']),
      ]),
      approverClusterRoleBinding: binding('ClusterRole', 'csi-driver-spiffe-approver', 'approver', 'csi-driver-spiffe-approver'),
      approverRole: role('Role', 'csi-driver-spiffe-approver', 'approver', [
        rule('coordination.k8s.io', 'leases', ['create']),
        rule('coordination.k8s.io', 'leases', ['get', 'update'], [leaseName]),
      ]),
      approverRoleBinding: binding('Role', 'csi-driver-spiffe-approver', 'approver', 'csi-driver-spiffe-approver'),

      // manifests/base/approver.yaml explains each line.
      approver: object('apps/v1', 'Deployment', 'csi-driver-spiffe-approver', 'approver') {
        spec: {
          replicas: p.replicas,
          selector: { matchLabels: labels('approver') },
          template: {
            metadata: { labels: labels('approver') },
            spec: pod {
              serviceAccountName: 'csi-driver-spiffe-approver',
              [if std.objectHas(p.priorityClassNames, 'approver') then 'priorityClassName']: p.priorityClassNames.approver,
              [if p.replicas > 1 then 'affinity']: {
                podAntiAffinity: {
                  preferredDuringSchedulingIgnoredDuringExecution: [{
                    weight: 100,
                    podAffinityTerm: {
                      topologyKey: 'kubernetes.io/hostname',
                      labelSelector: { matchLabels: labels('approver') },
                    },
                  }],
                },
              },
              securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } +
                               (if p.openshift then {} else { runAsUser: 65532, runAsGroup: 65532 }),
              containers: [container('csi-driver-spiffe-approver', p.images.approver, port('approver', ':9403')) {
                args: ['--config=/config/config.yaml'],
                env: podEnvironment,
                resources: p.resources.approver,
                securityContext: {
                  allowPrivilegeEscalation: false,
                  capabilities: { drop: ['ALL'] },
                  readOnlyRootFilesystem: true,
                },
              }],
              volumes: [configVolume],
            },
          },
        },
      },
      approverService: object('v1', 'Service', 'csi-driver-spiffe-approver', 'approver') {
        spec: {
          type: 'ClusterIP',
          selector: labels('approver'),
          ports: [{ name: 'http', port: port('approver', ':9403'), targetPort: 'http', protocol: 'TCP' }],
        },
      },
    } + (if p.replicas == 1 then {} else {
      approverDisruptionBudget: object('policy/v1', 'PodDisruptionBudget', 'csi-driver-spiffe-approver', 'approver') {
        spec: { maxUnavailable: 1, selector: { matchLabels: labels('approver') } },
      },
    }) + (if !p.openshift then {} else {
      driverSCCRole: role('Role', 'csi-driver-spiffe-scc', 'driver', [
        rule('security.openshift.io', 'securitycontextconstraints', ['use'], ['privileged']),
      ]),
      driverSCCRoleBinding: binding('Role', 'csi-driver-spiffe-scc', 'driver', 'csi-driver-spiffe'),
    }) + (if !p.networkPolicy.enabled then {} else {
      networkPolicy: object('networking.k8s.io/v1', 'NetworkPolicy', 'csi-driver-spiffe') {
        spec: {
          podSelector: { matchLabels: labels() },
          policyTypes: ['Ingress'],
          // An empty list of sources would mean: from everywhere.
          ingress: if p.networkPolicy.metricsFrom == [] then []
          else [{ from: p.networkPolicy.metricsFrom, ports: [{ port: 'http', protocol: 'TCP' }] }],
        },
      },
    }) + (if !p.monitoring then {} else {
      local prometheus = { metadata+: { labels+: { prometheus: 'default' } } },
      local endpoint = { port: 'http', path: '/metrics', interval: '10s', scrapeTimeout: '5s' },
      local monitoring = 'monitoring.coreos.com/v1',
      podMonitor: object(monitoring, 'PodMonitor', 'csi-driver-spiffe', 'driver') + prometheus {
        spec: { selector: { matchLabels: labels('driver') }, podMetricsEndpoints: [endpoint] },
      },
      serviceMonitor: object(monitoring, 'ServiceMonitor', 'csi-driver-spiffe-approver', 'approver') + prometheus {
        spec: { selector: { matchLabels: labels('approver') }, endpoints: [endpoint] },
      },
      prometheusRule: object(monitoring, 'PrometheusRule', 'csi-driver-spiffe') + prometheus {
        local rule = importstr '../components/monitoring/prometheusrule.yaml',
        spec: std.parseYaml(std.strReplace(rule, '< 600 and', '< %d and' % nearExpiry)).spec,
      },
      dashboard: object('v1', 'ConfigMap', 'csi-driver-spiffe-dashboard') {
        metadata+: { labels+: { grafana_dashboard: '1' } },
        data: { 'csi-driver-spiffe.json': importstr '../components/monitoring/csi-driver-spiffe.json' },
      },
    }) + (if !p.admission then {} else {
      local issuer = { kind: 'ClusterIssuer', group: 'cert-manager.io' } + p.config.issuerRef,
      local issuers = { name: 'issuers', expression: std.manifestJsonMinified([issuer]) },
      local driver = { name: 'driver', expression: std.manifestJsonMinified(driverName) },
      local read(file) = [
        document { metadata+: { name: clusterName(super.name) } } + (
          if document.kind == 'ValidatingAdmissionPolicy' then { spec+: { variables: [
            if variable.name == 'issuers' then issuers else if variable.name == 'driver' then driver else variable
            for variable in super.variables
          ] } }
          else { spec+: { policyName: clusterName(super.policyName) } + (
            if std.objectHas(document.spec, 'paramRef') then { paramRef+: { name: clusterName(super.name) } } else {}
          ) }
        )
        for document in std.parseYaml(file)
      ],
      local requests = read(importstr '../components/admission/requests.yaml'),
      local labelling = read(importstr '../components/admission/labels.yaml'),
      local deletions = read(importstr '../components/admission/deletions.yaml'),
      admissionRequestsPolicy: requests[0],
      admissionRequestsBinding: requests[1],
      admissionLabelsPolicy: labelling[0],
      admissionLabelsBinding: labelling[1],
      admissionDeletionsPolicy: deletions[0],
      admissionDeletionsBinding: deletions[1],
    }),

    list: { apiVersion: 'v1', kind: 'List', items: std.objectValues(this.objects) },
  },
}
