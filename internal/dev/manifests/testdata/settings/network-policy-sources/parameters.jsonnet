{
  networkPolicy: {
    enabled: true,
    metricsFrom: [
      {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'observability' } },
        podSelector: { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } },
      },
      { ipBlock: { cidr: '192.0.2.0/24' } },
    ],
  },
}
