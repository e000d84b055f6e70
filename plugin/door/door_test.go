package door

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

// requests are those that a client has made, as "verb resource".
func requests(client *kubefake.Client) (all []string) {
	for _, a := range client.Actions() {
		all = append(all, a.GetVerb()+" "+a.GetResource().Resource)
	}
	return all
}

func TestDial_NothingInstalled(t *testing.T) {
	client := kubefake.New()
	_, err := New(Options{Client: client, Namespace: "orb8-system"}).Dial(t.Context())
	if !errors.Is(err, ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
	// A CertificateSigningRequest would stay in the cluster, and be waited for.
	if got := requests(client); slices.Contains(got, "create certificatesigningrequests") {
		t.Errorf("requests %q", got)
	}
}

func TestDial_NamesTheMissingRight(t *testing.T) {
	for verb, resource := range map[string]string{"get": "configmaps", "list": "pods",
		"create": "certificatesigningrequests"} {
		authority, ready := installed(t)
		client := kubefake.New(authority, ready)
		client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
		})
		d := New(Options{Client: client, Namespace: "orb8-system"})
		d.dial = func(context.Context, string) (net.Conn, error) { return nil, errors.New("no server") }
		_, err := d.Dial(t.Context())
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s %s: %v", verb, resource, err)
		}
	}
}

func TestDial_WithoutReadyServers(t *testing.T) {
	authority, ready := installed(t)
	ready.Status.Conditions[0].Status = corev1.ConditionFalse
	client := kubefake.New(authority, ready)
	if _, err := New(Options{Client: client, Namespace: "orb8-system"}).Dial(t.Context()); err == nil ||
		errors.Is(err, ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
	if slices.Contains(requests(client), "create certificatesigningrequests") {
		t.Error("a certificate is requested that nobody signs")
	}
}

// installed returns the objects that a Door reads.
func installed(t *testing.T) (*corev1.ConfigMap, *corev1.Pod) {
	t.Helper()
	bundle := orbittest.New(t).Bundle().PEM()
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "orb8-system", Name: orbit.AuthorityName},
			Data: map[string]string{orbit.AuthorityKey: string(bundle)}}, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "orb8-system", Name: "orb8-server-1",
				Labels: deploy.ComponentLabels(deploy.ComponentServer)},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady,
				Status: corev1.ConditionTrue}}}}
}
