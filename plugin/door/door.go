// Package door connects the plugin to a server of persistent mode. The user proves who they are by a certificate that
// the cluster vouches for: the API server writes the requester's identity into the CertificateSigningRequest, whatever
// the request says. Neither a token nor a key of the user leaves this process.
package door

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	_ "github.com/orb8-dev/kubectl-orb8/event/session" // the compressor of answers
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/forward"
)

var (
	// ErrNotInstalled means that no orb8 is installed in the namespace.
	ErrNotInstalled = errors.New("orb8 is not installed")
	// ErrUnknown means that it cannot be found out whether orb8 is installed.
	ErrUnknown = errors.New("unknown whether orb8 is installed")
	// ErrForbidden means that the user may not reach the installed orb8.
	ErrForbidden = errors.New("forbidden")
)

// Options of a Door.
type Options struct {
	Client kube.Interface
	Config *rest.Config
	// Namespace is where orb8 is installed.
	Namespace string
}

const (
	// signTimeout is how long the servers may take to sign.
	signTimeout = 10 * time.Second
	// dialTimeout limits one attempt to reach a server.
	dialTimeout = 5 * time.Second
	// maxCertificates limits what is read of a signed request: a chain is short, bytes.
	maxCertificates = 64 << 10
)

// Door connects to servers. It is safe for concurrent use.
type Door struct {
	Options
	// dial connects to a server's pod; tests replace it.
	dial dialFunc

	mu     sync.Mutex
	bundle *orbit.Bundle
	leaf   *tls.Certificate
	last   string // the pod that was connected to last
}

// New returns a Door. It contacts nobody.
func New(o Options) *Door {
	return &Door{Options: o, dial: forward.NewDialer(o.Config, o.Namespace, orbit.ServerPort).Dial}
}

// Dial returns a connection to a server, another one than the last if there is one. It obtains a certificate if there
// is none, or two thirds of its life are over.
func (d *Door) Dial(ctx context.Context) (*grpc.ClientConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// First, since a certificate is in vain where nothing is installed: the request would wait for a signer that does
	// not exist, and be left in the cluster.
	pods, err := d.find(ctx)
	if err != nil {
		return nil, err
	}
	var first *ahead
	if d.needsCertificate() {
		first = dialAhead(ctx, d.dial, pods[0])
		defer first.close()
	}
	if err := d.certify(ctx); err != nil {
		return nil, err
	}
	dial := first.dialer(d.dial)
	var errs reasons
	renewed := false
	for _, pod := range pods {
		conn, err := d.connect(ctx, pod, dial)
		if refused := (*refusedError)(nil); errors.As(err, &refused) && !renewed {
			// Of an authority that was replaced, or expired by the clock of the server.
			renewed, d.leaf = true, nil
			if err := d.certify(ctx); err != nil {
				return nil, err
			}
			conn, err = d.connect(ctx, pod, dial)
		}
		if err == nil {
			d.last = pod
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", pod, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("no server of orb8 in namespace %q can be reached: %w", d.Namespace, errs)
}

// find reads the servers' authority, and returns the pods of servers, in the order in which to try them.
func (d *Door) find(ctx context.Context) (pods []string, err error) {
	var serversErr error
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		pods, serversErr = d.servers(ctx)
	}()
	bundle, err := d.readBundle(ctx)
	<-listed
	if err != nil {
		return nil, err
	}
	if serversErr != nil {
		return nil, serversErr
	}
	d.bundle = bundle
	// Clients share the servers out among themselves; the last one comes last.
	rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
	slices.SortStableFunc(pods, func(a, b string) int {
		return cmp.Compare(btoi(a == d.last), btoi(b == d.last))
	})
	return pods, nil
}

// forget discards a certificate that a server has refused, so that the next Dial obtains another one.
func (d *Door) forget(leaf *tls.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaf == leaf {
		d.leaf = nil
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// connect connects to the server in a pod, and waits for the handshake.
func (d *Door) connect(ctx context.Context, pod string, dial dialFunc) (*grpc.ClientConn, error) {
	leaf, bundle := d.leaf, d.bundle
	config := orbit.ClientTLS(orbit.Credentials{
		Certificate: func() (*tls.Certificate, error) { return leaf, nil },
		Bundle:      func() (*orbit.Bundle, error) { return bundle, nil },
	}, orbit.Accept(orbit.RoleServer))
	try := &attempt{TransportCredentials: credentials.NewTLS(config)}
	conn, err := grpc.NewClient("passthrough:///"+pod,
		grpc.WithTransportCredentials(try),
		grpc.WithContextDialer(try.dialer(dial)),
		grpc.WithStreamInterceptor(func(
			ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
			opts ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, conn, method, opts...)
			if err != nil {
				return nil, err
			}
			return &watchedStream{stream, func() { d.forget(leaf) }}, nil
		}),
		grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
			opts ...grpc.CallOption,
		) error {
			err := invoke(ctx, method, request, answer, conn, opts...)
			if status.Code(err) == codes.Unauthenticated {
				d.forget(leaf)
			}
			return err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(orbit.MaxMessageBytes),
			grpc.ForceCodecV2(orbit.NewAnswerCodec())),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithStaticStreamWindowSize(2<<20), grpc.WithStaticConnWindowSize(3<<20),
		grpc.WithMaxHeaderListSize(16<<10), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := ready(ctx, conn, try); err != nil {
		_ = conn.Close() // it has no connection
		return nil, err
	}
	return conn, nil
}

// watchedStream calls refused where the server does not know the caller.
type watchedStream struct {
	grpc.ClientStream
	refused func()
}

func (s *watchedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if status.Code(err) == codes.Unauthenticated {
		s.refused()
	}
	return err
}

// readBundle reads the servers' authority.
func (d *Door) readBundle(ctx context.Context) (*orbit.Bundle, error) {
	m, err := d.Client.CoreV1().ConfigMaps(d.Namespace).Get(ctx, orbit.AuthorityName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w in namespace %q: there is no ConfigMap %s", ErrNotInstalled, d.Namespace,
			orbit.AuthorityName)
	case apierrors.IsForbidden(err):
		return nil, d.refused(err, "get", "configmaps", d.Namespace)
	case err != nil:
		return nil, fmt.Errorf("%w: get ConfigMap %s/%s: %w", ErrUnknown, d.Namespace, orbit.AuthorityName, err)
	}
	b, err := orbit.ParseBundle([]byte(m.Data[orbit.AuthorityKey]))
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", d.Namespace, orbit.AuthorityName, err)
	}
	return b, nil
}

// servers returns the pods of ready servers.
func (d *Door) servers(ctx context.Context) (names []string, err error) {
	pods, err := d.Client.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: deploy.ComponentLabels(deploy.ComponentServer).String(),
	})
	if err != nil {
		return nil, d.refused(err, "list", "pods", d.Namespace)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no server of orb8 is ready in namespace %q: see kubectl orb8 status", d.Namespace)
	}
	return names, nil
}

// refused explains a refusal of the API server.
func (d *Door) refused(err error, verb, resource, namespace string) error {
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("%s %s: %w", verb, resource, err)
	}
	where := "in the whole cluster"
	if namespace != "" {
		where = fmt.Sprintf("in namespace %q", namespace)
	}
	return fmt.Errorf("%w: may not %s %s %s, to reach the installed orb8: an administrator grants it with "+
		"kubectl orb8 rbac --viewer", ErrForbidden, verb, resource, where)
}

// needsCertificate reports whether there is no certificate, or two thirds of its life are over.
func (d *Door) needsCertificate() bool {
	return d.leaf == nil || !time.Now().Before(orbit.Renewal(d.leaf.Leaf))
}

// certify obtains a certificate, unless there is one.
func (d *Door) certify(ctx context.Context) error {
	if !d.needsCertificate() {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		return err
	}
	// The server takes the key only: who asks is what the API server says.
	der, err := x509.CreateCertificateRequest(cryptorand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	seconds := int32(orbit.MaxViewerLife / time.Second)
	requests := d.Client.CertificatesV1().CertificateSigningRequests()
	ctx, cancel := context.WithTimeoutCause(ctx, signTimeout, errors.New("time is over"))
	defer cancel()
	csr, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "orb8-viewer-",
			Labels: deploy.ComponentLabels(deploy.ComponentAccess)},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: orbit.ViewerSigner, ExpirationSeconds: &seconds,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return d.refused(err, "create", "certificatesigningrequests", "")
	}
	signed, err := d.await(ctx, csr.Name)
	if err != nil {
		return err
	}
	return d.keep(signed, key)
}

// pollInterval is how often a request is read until it is signed. A watch would need one more right, over all requests.
const pollInterval = 30 * time.Millisecond

// await waits until a request is signed.
func (d *Door) await(ctx context.Context, name string) ([]byte, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		csr, err := d.Client.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return nil, d.refused(err, "get", "certificatesigningrequests", "")
		case len(csr.Status.Certificate) > maxCertificates:
			return nil, fmt.Errorf("CertificateSigningRequest %s has %d bytes of certificates", name,
				len(csr.Status.Certificate))
		case len(csr.Status.Certificate) > 0:
			return csr.Status.Certificate, nil
		default:
			for _, c := range csr.Status.Conditions {
				if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
					return nil, fmt.Errorf("the certificate was refused: %s: %s", c.Reason, c.Message)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("CertificateSigningRequest %s was not signed within %v: are the servers of "+
					"orb8 in namespace %q ready? see kubectl orb8 status", name, signTimeout, d.Namespace)
			}
			return nil, ctx.Err()
		}
	}
}

// keep takes a signed certificate.
func (d *Door) keep(signed []byte, key *ecdsa.PrivateKey) error {
	leaf := &tls.Certificate{PrivateKey: key}
	for rest := signed; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		leaf.Certificate = append(leaf.Certificate, block.Bytes)
	}
	if len(leaf.Certificate) == 0 {
		return errors.New("the signed request holds no certificate")
	}
	var err error
	if leaf.Leaf, err = x509.ParseCertificate(leaf.Certificate[0]); err != nil {
		return fmt.Errorf("the signed certificate: %w", err)
	}
	if own, ok := leaf.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || !own.Equal(&key.PublicKey) {
		return errors.New("the signed certificate is of another key")
	}
	d.leaf = leaf
	return nil
}
