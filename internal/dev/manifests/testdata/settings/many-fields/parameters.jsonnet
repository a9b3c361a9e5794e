{
  images: { driver: 'registry.example.org/spiffe:v9', approver: 'registry.example.org/spiffe-approver:v9' },
  caBundleSecret: 'my-roots',
  resources: { driver: { limits: { memory: '2Gi' } } },
  config: std.parseYaml(importstr 'config.yaml'),
}
