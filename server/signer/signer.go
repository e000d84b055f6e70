// Package signer issues the certificates of viewers: it approves and signs the CertificateSigningRequests of
// orb8.dev/viewer. The API server has stamped into them who made them, whatever the request said.
package signer

import (
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/cache"
	"github.com/orb8-dev/kubectl-orb8/internal/delay"
	"github.com/orb8-dev/kubectl-orb8/server/authority"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

const (
	// maxAge is how old a request may be. Whoever made an older one has given up.
	maxAge = 5 * time.Minute
	// maxQueue bounds the requests that wait. Further ones are found by the next list.
	maxQueue = 256
	workers  = 4
	pageSize = 200
	// relist is the time between two lists while requests are left over. A user waits 10 s.
	relist = 2 * time.Second
	// Requests a second of one user: one for each command of a script, which may run many at once.
	userRate, userBurst = 5, 50
	maxUsers            = 4096
	userMemory          = time.Minute
	// There are a few servers, and a user waits 10 s: when the API server is back they have to watch again soon.
	// A watch that has lasted for so long begins the backoff anew.
	minBackoff, maxBackoff, stable = time.Second, 2 * time.Second, 30 * time.Second
	timeout                        = 10 * time.Second
)

// reason is the reason of the conditions.
const reason = "Orb8Viewer"

// selector selects the signer's requests.
var selector = fields.OneTermEqualSelector("spec.signerName", orbit.ViewerSigner).String()

type signer struct {
	client    kubernetes.Interface
	authority *authority.Authority
	log       *slog.Logger
	count     func(metrics.Result)
	users     *cache.Cache[string, *rate.Limiter]
	queue     chan *certificatesv1.CertificateSigningRequest

	mu sync.Mutex
	// leftOver: requests were not queued, since the queue was full or their user had made too many.
	leftOver bool
}

// Run signs requests until ctx is done. All replicas run it: of two that sign one request, the first succeeds. count
// is called with what became of a request.
func Run(
	ctx context.Context, client kubernetes.Interface, a *authority.Authority, log *slog.Logger,
	count func(metrics.Result),
) error {
	s := &signer{client: client, authority: a, log: log, count: count,
		users: cache.New[string, *rate.Limiter](maxUsers),
		queue: make(chan *certificatesv1.CertificateSigningRequest, maxQueue)}
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(func() { s.work(ctx) })
	}
	backoff := minBackoff
	for ctx.Err() == nil {
		started := time.Now()
		err := s.watch(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(started) > stable {
			backoff = minBackoff
		}
		if err != nil {
			log.Error("the requests for certificates are not watched", "error", err, "retry", backoff)
		}
		if delay.Wait(ctx, backoff) != nil {
			break
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

// watch queues the requests that there are and those that come, until the watch ends.
func (s *signer) watch(ctx context.Context) error {
	version, err := s.list(ctx)
	if err != nil {
		return err
	}
	watch, err := s.client.CertificatesV1().CertificateSigningRequests().Watch(ctx, metav1.ListOptions{
		FieldSelector: selector, ResourceVersion: version,
	})
	if err != nil {
		return fmt.Errorf("watch certificatesigningrequests: %w", err)
	}
	defer watch.Stop()
	ticker := time.NewTicker(relist)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if s.clearLeftOver() {
				if _, err := s.list(ctx); err != nil {
					return err
				}
			}
		case ev, ok := <-watch.ResultChan():
			if !ok {
				return nil // the API server ends watches now and then
			}
			switch object := ev.Object.(type) {
			case *certificatesv1.CertificateSigningRequest:
				s.offer(object)
			case *metav1.Status:
				return fmt.Errorf("watch certificatesigningrequests: %w", apierrors.FromObject(object))
			}
		}
	}
}

// list queues all requests, and returns the version to watch from.
func (s *signer) list(ctx context.Context) (version string, err error) {
	o := metav1.ListOptions{FieldSelector: selector, Limit: pageSize}
	for {
		page, err := s.client.CertificatesV1().CertificateSigningRequests().List(ctx, o)
		if err != nil {
			return "", fmt.Errorf("list certificatesigningrequests: %w", err)
		}
		for i := range page.Items {
			s.offer(&page.Items[i])
		}
		if page.Continue == "" {
			return page.ResourceVersion, nil
		}
		o.Continue = page.Continue
	}
}

func (s *signer) clearLeftOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.leftOver
	s.leftOver = false
	return was
}

// offer queues a request that needs signing.
func (s *signer) offer(r *certificatesv1.CertificateSigningRequest) {
	if !pending(r) {
		return
	}
	if len(s.queue) < cap(s.queue) && s.admit(r) {
		select {
		case s.queue <- r:
			return
		default:
		}
	}
	s.mu.Lock()
	s.leftOver = true
	s.mu.Unlock()
}

// pending reports whether a request of this signer is neither signed nor refused, and not too old.
func pending(r *certificatesv1.CertificateSigningRequest) bool {
	return r.Spec.SignerName == orbit.ViewerSigner && len(r.Status.Certificate) == 0 &&
		!has(r, certificatesv1.CertificateDenied) && !has(r, certificatesv1.CertificateFailed) &&
		time.Since(r.CreationTimestamp.Time) < maxAge
}

func has(r *certificatesv1.CertificateSigningRequest, condition certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == condition && c.Status != corev1.ConditionFalse
	})
}

// admit applies the user's rate. A request that was approved before its replica ended has passed it already.
func (s *signer) admit(r *certificatesv1.CertificateSigningRequest) bool {
	if has(r, certificatesv1.CertificateApproved) {
		return true
	}
	return s.users.GetOrPut(r.Spec.Username, userMemory, func() *rate.Limiter {
		return rate.NewLimiter(userRate, userBurst)
	}).Allow()
}

func (s *signer) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.queue:
			if err := s.handle(ctx, r); err != nil && ctx.Err() == nil {
				s.count(metrics.Failed)
				s.log.Error("a request for a certificate is not handled", "request", r.Name, "user", r.Spec.Username,
					"error", err)
				s.mu.Lock()
				s.leftOver = true
				s.mu.Unlock()
			}
		}
	}
}

// handle approves and signs a request, or denies it.
func (s *signer) handle(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	key, life, err := validate(r)
	if err == nil {
		err = s.sign(ctx, r, key, life)
		refused := (*refusal)(nil)
		if !errors.As(err, &refused) {
			return known(err)
		}
		err = refused.error
	}
	return known(s.refuse(ctx, r, err.Error()))
}

// refusal is the reason why a valid request gets no certificate.
type refusal struct{ error }

// known removes the errors that mean that the other replica was first, or that the request is gone.
func known(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *signer) sign(
	ctx context.Context, r *certificatesv1.CertificateSigningRequest, key crypto.PublicKey, life time.Duration,
) error {
	// Signed before it is approved: the user may not fit, and an approved request cannot be denied.
	user := orbit.NewUser(r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra)
	chain, err := s.authority.Sign(orbit.Peer{Role: orbit.RoleViewer, User: user}, key, life)
	if err != nil {
		return &refusal{err}
	}
	requests := s.client.CertificatesV1().CertificateSigningRequests()
	if !has(r, certificatesv1.CertificateApproved) {
		approved := r.DeepCopy()
		addCondition(approved, certificatesv1.CertificateApproved, "a viewer of orb8")
		if r, err = requests.UpdateApproval(ctx, r.Name, approved, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	signed := r.DeepCopy()
	for _, c := range chain {
		signed.Status.Certificate = append(signed.Status.Certificate,
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if _, err = requests.UpdateStatus(ctx, signed, metav1.UpdateOptions{}); err == nil {
		s.count(metrics.Signed)
		s.log.Info("issued the certificate of a viewer", "user", r.Spec.Username, "request", r.Name, "expires",
			chain[0].NotAfter)
	}
	return err
}

// refuse denies a request. One that another program has approved can only fail.
func (s *signer) refuse(ctx context.Context, r *certificatesv1.CertificateSigningRequest, why string) error {
	requests := s.client.CertificatesV1().CertificateSigningRequests()
	r = r.DeepCopy()
	s.count(metrics.Denied)
	s.log.Warn("refused a request for a certificate", "user", r.Spec.Username, "request", r.Name, "reason", why)
	if has(r, certificatesv1.CertificateApproved) {
		addCondition(r, certificatesv1.CertificateFailed, why)
		_, err := requests.UpdateStatus(ctx, r, metav1.UpdateOptions{})
		return err
	}
	addCondition(r, certificatesv1.CertificateDenied, why)
	_, err := requests.UpdateApproval(ctx, r.Name, r, metav1.UpdateOptions{})
	return err
}

func addCondition(
	r *certificatesv1.CertificateSigningRequest, condition certificatesv1.RequestConditionType, message string,
) {
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: condition, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastUpdateTime: metav1.Now(),
	})
}

// validate returns the key of a request and the life that it asks for; an error is the reason to refuse it.
func validate(r *certificatesv1.CertificateSigningRequest) (crypto.PublicKey, time.Duration, error) {
	life := orbit.MaxViewerLife
	if seconds := r.Spec.ExpirationSeconds; seconds != nil {
		if life = time.Duration(*seconds) * time.Second; life <= 0 || life > orbit.MaxViewerLife {
			return nil, 0, fmt.Errorf("spec.expirationSeconds %d: want at most %d", *seconds,
				orbit.MaxViewerLife/time.Second)
		}
	}
	if err := checkUsages(r.Spec.Usages); err != nil {
		return nil, 0, err
	}
	if r.Spec.Username == "" || r.Spec.Username == "system:anonymous" ||
		slices.Contains(r.Spec.Groups, "system:unauthenticated") {
		return nil, 0, errors.New("spec.username: want an authenticated user")
	}
	if len(r.Spec.Request) > 2*orbit.MaxRequestBytes {
		return nil, 0, fmt.Errorf("spec.request: %d bytes, at most %d are accepted", len(r.Spec.Request),
			2*orbit.MaxRequestBytes)
	}
	block, rest := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, 0, errors.New("spec.request: want the PEM of one certificate request")
	}
	key, err := orbit.ParseRequest(block.Bytes)
	if err != nil {
		return nil, 0, fmt.Errorf("spec.request: %w", err)
	}
	return key, life, nil
}

func checkUsages(usages []certificatesv1.KeyUsage) error {
	client := 0
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageClientAuth:
			client++
		case certificatesv1.UsageDigitalSignature:
		default:
			return fmt.Errorf("spec.usages: %q: want %q, and %q at most", u, certificatesv1.UsageClientAuth,
				certificatesv1.UsageDigitalSignature)
		}
	}
	if client != 1 {
		return fmt.Errorf("spec.usages: want %q", certificatesv1.UsageClientAuth)
	}
	return nil
}
