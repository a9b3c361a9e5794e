// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"errors"
	"fmt"
	"sync/atomic"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
)

// Stage is how far an SVID has come on its way into a volume. Its text
// completes "while ...".
type Stage string

// The stages of an SVID, in order. A [Requester] goes from [StagePrepare] to
// [StageVerify]; the others belong to the delivery.
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

// Progress is where a running [Requester.Issue] stands, for whoever has to
// explain why it takes so long. The zero value is ready for use.
type Progress struct {
	// Step, unless nil, is called with each stage that is reached.
	Step func(Stage)

	current atomic.Pointer[step]
}

// step is a stage that was reached, and what is waited for there at any moment.
type step struct {
	request    types.NamespacedName
	stage      Stage
	waitingFor func() error
}

// Err returns the present stage as an error whose cause is err with what is
// being waited for, or err itself if nothing has begun.
func (p *Progress) Err(err error) error {
	now := p.current.Load()
	if now == nil {
		return err
	}
	if waiting := now.waitingFor(); waiting != nil {
		err = fmt.Errorf("%w (%w)", waiting, err)
	}
	return &Error{Request: now.request, Stage: now.stage, Err: err}
}

func (p *Progress) set(request types.NamespacedName, stage Stage, waitingFor error) {
	p.follow(request, stage, func() error { return waitingFor })
}

// follow is set where what is waited for is another from one moment to the next.
func (p *Progress) follow(request types.NamespacedName, stage Stage, waitingFor func() error) {
	p.current.Store(&step{request, stage, waitingFor})
	if p.Step != nil {
		p.Step(stage)
	}
}

// Report notes err, an [*Error], as what is waited for: an attempt has failed and there
// will be another one, or the certificate is not valid yet. Whoever asks meanwhile is told
// the cause.
func (p *Progress) Report(err error) {
	var issue *Error
	if errors.As(err, &issue) {
		p.current.Store(&step{issue.Request, issue.Stage, func() error { return issue.Err }})
	}
}

// outcome reads the conditions of a request: the stage it has reached, whether
// it is done, and if it is done in vain, why.
func outcome(request *cmapi.CertificateRequest) (stage Stage, done bool, err error) {
	if denied := condition(request, cmapi.CertificateRequestConditionDenied); isTrue(denied) {
		return StageApprove, true, fmt.Errorf("%w: %s", ErrDenied, denied.Message)
	}
	if invalid := condition(request, cmapi.CertificateRequestConditionInvalidRequest); isTrue(invalid) {
		return StageSign, true, fmt.Errorf("%w: %s", ErrFailed, invalid.Message)
	}
	ready := condition(request, cmapi.CertificateRequestConditionReady)
	if ready != nil && ready.Reason == cmapi.CertificateRequestReasonFailed {
		return StageSign, true, fmt.Errorf("%w: %s", ErrFailed, ready.Message)
	}
	if isTrue(ready) && certrequest.Truncated(request, certrequest.FieldCertificate) {
		return StageVerify, true, fmt.Errorf("%w: the chain in its status is longer than %d bytes, or no base64; the issuer has to return fewer certificates", ErrBadCertificate, certrequest.MaxCertificate)
	}
	if isTrue(ready) && len(request.Status.Certificate) > 0 {
		return StageVerify, true, nil
	}
	if !apiutil.CertificateRequestIsApproved(request) {
		return StageApprove, false, nil
	}
	return StageSign, false, nil
}

// progress says what a request waits for, for the person who wonders why the
// pod does not start.
func progress(request *cmapi.CertificateRequest, stage Stage) error {
	ref := request.Spec.IssuerRef
	if stage == StageApprove {
		return fmt.Errorf("no approver has decided; is csi-driver-spiffe-approver running, with the same configuration as the driver (issuerRef %s %s/%s)?", ref.Kind, ref.Group, ref.Name)
	}
	message := "it has said nothing yet"
	if ready := condition(request, cmapi.CertificateRequestConditionReady); ready != nil {
		message = ready.Message
	}
	return fmt.Errorf("%s %s/%s has not signed: %s", ref.Kind, ref.Group, ref.Name, message)
}

func condition(request *cmapi.CertificateRequest, kind cmapi.CertificateRequestConditionType) *cmapi.CertificateRequestCondition {
	return apiutil.GetCertificateRequestCondition(request, kind)
}

func isTrue(condition *cmapi.CertificateRequestCondition) bool {
	return condition != nil && condition.Status == cmmeta.ConditionTrue
}
