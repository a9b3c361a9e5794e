{
  images: { driver: 'registry.example.org/spiffe:v9', approver: 'registry.example.org/spiffe-approver:v9' },
  config: std.parseYaml(importstr 'config.yaml'),
}
