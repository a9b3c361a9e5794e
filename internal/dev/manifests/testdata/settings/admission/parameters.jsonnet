{
  namespace: 'spiffe-system',
  config: { issuerRef: { name: 'my-ca', kind: 'AWSPCAClusterIssuer', group: 'awspca.cert-manager.io' } },
  admission: true,
}
