package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// stateKey is the key of the issuers in the Secret.
	stateKey = "authorities.json"
	// AnnotationRotate on the Secret, with any value, lets another authority replace the current one. The server
	// removes it. It has no effect where another program makes the authorities.
	AnnotationRotate = "orb8.dev/rotate"
	// maxConflicts bounds the attempts at one change: the other replica makes the same ones.
	maxConflicts = 5
)

// errConflict: another replica changed an object in between.
var errConflict = errors.New("the objects change all the time")

// labels of the objects that servers make.
func labels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "orb8", "app.kubernetes.io/component": "server",
		"app.kubernetes.io/managed-by": "orb8",
	}
}

// sync makes the Secret and the ConfigMap what they should be now. It returns the accepted issuers.
func (a *Authority) sync(ctx context.Context) (issuers, error) {
	for range maxConflicts {
		all, err := a.syncSecret(ctx)
		if err == nil {
			err = a.publish(ctx, all.bundle().PEM())
		}
		if !errors.Is(err, errConflict) {
			return all, err
		}
	}
	return nil, fmt.Errorf("write Secret and ConfigMap %s/%s: %w", a.o.Namespace, orbit.AuthorityName, errConflict)
}

func (a *Authority) syncSecret(ctx context.Context) (issuers, error) {
	secrets := a.client.CoreV1().Secrets(a.o.Namespace)
	secret, err := secrets.Get(ctx, orbit.AuthorityName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return a.createSecret(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s/%s: %w", a.o.Namespace, orbit.AuthorityName, err)
	}
	all, err := parseIssuers(secret.Data[stateKey])
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %s: %w: delete the Secret to make a new authority", a.o.Namespace,
			orbit.AuthorityName, stateKey, err)
	}
	given, err := a.readGiven(ctx)
	if err != nil {
		return nil, err
	}
	_, forced := secret.Annotations[AnnotationRotate]
	next, changed, err := all.next(time.Now(), &a.o, forced, given)
	if err != nil {
		a.o.Log.Error("the certificate authority is not rotated", "error", err)
	}
	if !changed {
		return next, nil
	}
	changedSecret := secret.DeepCopy()
	if changedSecret.Data[stateKey], err = next.encode(); err != nil {
		return nil, err
	}
	delete(changedSecret.Annotations, AnnotationRotate)
	if _, err = secrets.Update(ctx, changedSecret, metav1.UpdateOptions{}); err != nil {
		return nil, conflict(err, "update Secret", a.o.Namespace)
	}
	newest := next[len(next)-1]
	a.o.Log.Info("the certificate authorities have changed", "accepted", len(next), "newest",
		newest.cert.Subject.CommonName, "signs", newest.signs)
	return next, nil
}

func (a *Authority) createSecret(ctx context.Context) (issuers, error) {
	given, err := a.readGiven(ctx)
	if err != nil {
		return nil, err
	}
	first, _, err := issuers(nil).next(time.Now(), &a.o, false, given)
	if err != nil {
		return nil, err
	}
	state, err := first.encode()
	if err != nil {
		return nil, err
	}
	_, err = a.client.CoreV1().Secrets(a.o.Namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: orbit.AuthorityName, Namespace: a.o.Namespace, Labels: labels()},
		Data:       map[string][]byte{stateKey: state},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, conflict(err, "create Secret", a.o.Namespace)
	}
	a.o.Log.Info("made a certificate authority", "expires", first[0].cert.NotAfter)
	return first, nil
}

// readGiven reads the authority that another program makes; nil: none does.
func (a *Authority) readGiven(ctx context.Context) (*issuer, error) {
	if a.o.Secret == "" {
		return nil, nil
	}
	secret, err := a.client.CoreV1().Secrets(a.o.Namespace).Get(ctx, a.o.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get Secret %s/%s: %w", a.o.Namespace, a.o.Secret, err)
	}
	given, err := parseIssuer(&storedIssuer{
		Certificate: string(secret.Data[corev1.TLSCertKey]), Key: string(secret.Data[corev1.TLSPrivateKeyKey]),
	})
	if err == nil {
		err = checkUsages(given.cert)
	}
	if err == nil && !time.Now().Before(given.cert.NotAfter) {
		err = fmt.Errorf("the authority has expired at %s", given.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", a.o.Namespace, a.o.Secret, err)
	}
	return &given, nil
}

// checkUsages returns an error where no one would accept what an authority signs.
func checkUsages(ca *x509.Certificate) error {
	if ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("the authority may not sign certificates: its usages lack \"cert sign\"")
	}
	if len(ca.ExtKeyUsage) == 0 || slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	for usage, name := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server auth",
		x509.ExtKeyUsageClientAuth: "client auth"} {
		if !slices.Contains(ca.ExtKeyUsage, usage) {
			return fmt.Errorf("the authority may not sign certificates for %q: give it no extended usage, or this one",
				name)
		}
	}
	return nil
}

// publish writes the bundle to the ConfigMap.
func (a *Authority) publish(ctx context.Context, bundle []byte) error {
	configs := a.client.CoreV1().ConfigMaps(a.o.Namespace)
	current, err := configs.Get(ctx, orbit.AuthorityName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = configs.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: orbit.AuthorityName, Namespace: a.o.Namespace, Labels: labels()},
			Data:       map[string]string{orbit.AuthorityKey: string(bundle)},
		}, metav1.CreateOptions{})
		if err != nil {
			return conflict(err, "create ConfigMap", a.o.Namespace)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("get ConfigMap %s/%s: %w", a.o.Namespace, orbit.AuthorityName, err)
	}
	if bytes.Equal([]byte(current.Data[orbit.AuthorityKey]), bundle) {
		return nil
	}
	changed := current.DeepCopy()
	if changed.Data == nil {
		changed.Data = map[string]string{}
	}
	if changed.Labels == nil {
		changed.Labels = map[string]string{}
	}
	changed.Data[orbit.AuthorityKey] = string(bundle)
	maps.Copy(changed.Labels, labels())
	if _, err := configs.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return conflict(err, "update ConfigMap", a.o.Namespace)
	}
	return nil
}

// conflict describes the error of a write; it is errConflict where another replica was first.
func conflict(err error, action, namespace string) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return errConflict
	}
	return fmt.Errorf("%s %s/%s: %w", action, namespace, orbit.AuthorityName, err)
}
