package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

func TestPrepare_FindsDNSPorts(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "names"}}
	service.Spec.Ports = []corev1.ServicePort{{Port: 5354, TargetPort: intstr.FromInt32(53),
		Protocol: corev1.ProtocolUDP}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "a", UID: "a"}}
	pod.Spec.NodeName, pod.Status.Phase = "n1", corev1.PodRunning
	for name, c := range map[string]struct {
		kind string
		all  bool
		want string
	}{
		"of the targets' namespace":          {"dns", false, "[53 5354]"},
		"not of strangers in all namespaces": {"dns", true, "[53]"},
		"only where DNS is traced":           {"flow", false, "[53]"},
	} {
		t.Run(name, func(t *testing.T) {
			client := kubefake.New(service, pod)
			client.PrependReactor("create", "selfsubjectaccessreviews",
				func(k8stesting.Action) (bool, runtime.Object, error) {
					allowed := authorizationv1.SubjectAccessReviewStatus{Allowed: true}
					return true, &authorizationv1.SelfSubjectAccessReview{Status: allowed}, nil
				})
			query := cluster.Query{Namespace: "demo", AllNamespaces: c.all}
			status := &log{}
			s := New(t.Context(), Config{
				Query: query, Spec: launch.Spec{Namespace: "demo"},
				Tracer: &session.Config{Kinds: []string{c.kind}, DnsPorts: []uint32{53}},
			}, Dependencies{
				Client: client, Status: status,
				Open: func(ctx context.Context, note func(string)) (View, error) {
					return cluster.Open(ctx, client, query, cluster.Options{Note: note})
				},
			})
			targets, err := s.prepare()
			if err != nil {
				t.Fatal(err)
			}
			targets.Close()
			if got := fmt.Sprint(s.config.Tracer.DnsPorts); got != c.want || status.Len() > 0 {
				t.Errorf("ports %s, want %s; message %q", got, c.want, status)
			}
		})
	}
}

func TestSetDNSPorts(t *testing.T) {
	span := func(from, to uint32) (ports []uint32) {
		for p := from; p <= to; p++ {
			ports = append(ports, p)
		}
		return ports
	}
	for name, c := range map[string]struct {
		given []uint32
		found foundPorts
		want  []uint32
		note  string
	}{
		"given ones stay first": {[]uint32{5300, 53}, foundPorts{ports: []uint32{53, 1053}}, []uint32{5300, 53, 1053},
			""},
		"too many": {
			span(1, 15), foundPorts{ports: []uint32{15, 53, 1053}}, append(span(1, 15), 53),
			"note: a tracer takes 16 DNS ports: left out port 1053 of DNS Services; choose with --dns-port\n",
		},
		"a note has an end": {
			span(1, 16), foundPorts{ports: span(101, 5000)}, span(1, 16),
			"left out ports 101, 102, 103, 104, 105, 106, 107, 108 and 4892 more of DNS Services",
		},
		"not all are known": {
			[]uint32{53}, foundPorts{ports: []uint32{54}, err: errors.New("list services: no")}, []uint32{53, 54},
			"note: list services: no: DNS on other ports than 53, 54 may not be seen: name them with --dns-port\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, status := newTestSession(t, Config{Tracer: &session.Config{DnsPorts: c.given}})
			s.setDNSPorts(c.found)
			if got := s.config.Tracer.DnsPorts; !slices.Equal(got, c.want) {
				t.Errorf("ports %v, want %v", got, c.want)
			}
			if message := status.String(); !strings.Contains(message, c.note) || c.note == "" && message != "" {
				t.Errorf("reported %q, want %q", message, c.note)
			}
		})
	}
}
