// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

// Stage is how far a document has come on its way into a volume. Its text
// completes "while ...".
type Stage string

// The stages of a document, in order. A [Requester] goes from [StagePrepare] to
// [StageVerify]; the others are those of whoever delivers what it brings.
const (
	StageQueue   Stage = "waiting for its turn"
	StagePrepare Stage = "preparing the request"
	StageClear   Stage = "deleting an earlier request of the volume"
	StageCreate  Stage = "creating a CertificateRequest as the pod's ServiceAccount"
	StageApprove Stage = "waiting for approval"
	StageSign    Stage = "waiting for the issuer to sign"
	StageVerify  Stage = "verifying the certificate"
	StageCollect Stage = "waiting to be collected"
	StageWrite   Stage = "writing the files"
	StageMount   Stage = "mounting the volume"
)

// Stages returns all stages, in order.
func Stages() []Stage {
	return []Stage{
		StageQueue, StagePrepare, StageClear, StageCreate, StageApprove, StageSign, StageVerify,
		StageCollect, StageWrite, StageMount,
	}
}

// Word is the stage in a word, as logs and metrics have it. It is empty for what
// is no stage.
func (s Stage) Word() string {
	switch s {
	case StageQueue:
		return "queue"
	case StagePrepare:
		return "prepare"
	case StageClear:
		return "clear"
	case StageCreate:
		return "create"
	case StageApprove:
		return "approve"
	case StageSign:
		return "sign"
	case StageVerify:
		return "verify"
	case StageCollect:
		return "collect"
	case StageWrite:
		return "write"
	case StageMount:
		return "mount"
	default:
		return ""
	}
}
