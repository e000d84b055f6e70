package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

func controller(kind, name, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr(true)}}
}

func TestUntraced_GivesReasons(t *testing.T) {
	ended := func(name string, phase corev1.PodPhase, owner string) *corev1.Pod {
		p := pod("demo", name, "n1")
		p.Status.Phase = phase
		if owner != "" {
			p.OwnerReferences = controller(owner, "x", "x")
		}
		return p
	}
	pending := pod("demo", "pending", "")
	pending.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Message: "0/2 nodes are available: 2 Insufficient cpu."},
	}}
	for _, test := range []struct {
		name  string
		query Query
		want  string
		final bool
	}{
		{"a container's name is wrong", Query{Names: []string{"web-0"}, Container: "mian"},
			`no container "mian" in pod web-0: there is main`, true},
		{"in a deployment's pods", Query{Names: []string{"svc/web"}, Container: "mian"},
			`no container "mian" in pod web-0: there is main`, true},
		{"in a namespace", Query{Container: "mian"},
			`no container "mian" in pods client, pending, web-0: there is main`, false},
		{"completed", Query{Names: []string{"done"}}, "pod done (Succeeded) has ended", true},
		{"one of two", Query{Names: []string{"done", "pending"}},
			"pod pending (0/2 nodes are available: 2 Insufficient cpu) is pending", false},
		{"a StatefulSet makes it again", Query{Names: []string{"evicted"}}, "pod evicted (Failed) has ended", false},
		{"pending", Query{Names: []string{"pending"}},
			"pod pending (0/2 nodes are available: 2 Insufficient cpu) is pending", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := kubefake.New(append(fixture(), ended("done", corev1.PodSucceeded, "Job"),
				ended("evicted", corev1.PodFailed, "StatefulSet"),
				pending)...)
			test.query.Namespace = "demo"
			c := open(t, client, test.query, Options{})
			if pods, _ := c.Targets(); pods != 0 {
				t.Fatalf("%d targets", pods)
			}
			u := c.Untraced(t.Context())
			if got := strings.Join(u.Reasons, "; "); !strings.Contains(got, test.want) || u.Final != test.final {
				t.Errorf("%q, final %v; want %q, %v", got, u.Final, test.want, test.final)
			}
		})
	}
}

func TestOpen_AcceptsEveryWorkloadKind(t *testing.T) {
	labels := map[string]string{"app": "web"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	meta := metav1.ObjectMeta{Namespace: "demo", Name: "web", UID: "uid-web"}
	scheduled := pod("demo", "backup-29", "n1")
	scheduled.OwnerReferences = controller("Job", "backup-29", "uid-backup-29")
	byHand := pod("demo", "by-hand-x", "n1")
	byHand.OwnerReferences = controller("Job", "by-hand", "uid-by-hand")
	foreign := pod("demo", "backup-7", "n1")
	foreign.OwnerReferences = controller("Job", "backup-7", "uid-backup-7")
	job := func(name, owner string) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: name, UID: types.UID("uid-" + name), OwnerReferences: controller("CronJob", owner,
				"uid-"+owner),
		}}
	}
	objects := append(fixture(),
		&corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Selector: labels}},
		&batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Selector: selector}},
		&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "backup", UID: "uid-backup"}},
		job("backup-29", "backup"), job("by-hand", "backup"), job("backup-7", "other"), scheduled, byHand, foreign)
	for arg, want := range map[string]int{
		"rc/web": 1, "replicationcontroller/web": 1, "replicationcontrollers.v1/web": 1, "jobs.batch/web": 1,
		"job.v1.batch/web": 1,
		"cronjob/backup":   2, "cj/backup": 2, "cronjobs.batch/backup": 2, "services/web": 1, "svc.v1/web": 1,
	} {
		c := open(t, kubefake.New(objects...), Query{Namespace: "demo", Names: []string{arg}}, Options{})
		if pods, _ := c.Targets(); pods != want {
			t.Errorf("%s: %d targets, want %d", arg, pods, want)
		}
	}
}

func TestOpen_RefusesTargetsWithoutPods(t *testing.T) {
	external := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "db"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com"},
	}
	for arg, want := range map[string]string{
		"svc/db": `target "svc/db": want a Service with pods: this one is of type ExternalName, ` +
			`a CNAME for "db.example.com"`,
		"deployments.batch/web":  `target "deployments.batch/web": want a pod's name, or one of deploy/NAME, sts/NAME`,
		"cronjob/none":           `cronjob "none" not found in namespace "demo": see kubectl get cronjobs -n demo`,
		"configmap/kube-root-ca": `target "configmap/kube-root-ca": want a pod's name`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		objects := append(fixture(), []runtime.Object{external}...)
		_, err := Open(ctx, kubefake.New(objects...), Query{Namespace: "demo", Names: []string{arg}}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
}
