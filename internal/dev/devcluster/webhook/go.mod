// Part of the devcluster, and never built on its own: the devcluster's go.mod,
// one folder up, says which versions are used and replaces this module by this
// folder. See the package comment for why it is a module at all.
module github.com/cert-manager/cert-manager/devcluster/webhook

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/go-logr/logr v1.4.3
)
