{
  namespace: 'spiffe-b',
  config: {
    trustDomain: 'b.trust.domain',
    issuerRef: { name: 'csi-driver-spiffe-b-ca' },
    driver: { name: 'b.spiffe.example.org' },
    volume: { tmpfsPath: '/var/run/csi-driver-spiffe-b' },
  },
  admission: true,
}
