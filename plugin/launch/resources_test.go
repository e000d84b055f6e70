package launch

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestRefusal_NamesTheFix(t *testing.T) {
	const (
		limits = `[minimum cpu usage per Container is 50m, but request is 10m, ` +
			`memory max limit to request ratio per Container is 2, but provided ratio is 4.000000]`
		memory = `exceeded quota: q, requested: limits.memory=256Mi, used: limits.memory=896Mi, ` +
			`limited: limits.memory=1Gi`
		jobs = `exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=2, ` +
			`limited: count/jobs.batch=2`
		policy = `ValidatingAdmissionPolicy 'team' with binding 'team' denied request: want the label team`
	)
	for name, test := range map[string]struct{ message, want string }{
		"limit range": {
			`Error creating: pods "x-abcde" is forbidden: ` +
				`maximum memory usage per Container is 128Mi, but limit is 256Mi`,
			`limit range: maximum memory usage per Container is 128Mi, but limit is 256Mi; ` +
				`keep to it with --tracer-resources memory=128Mi, or run it elsewhere with --tracer-namespace`,
		},
		"limit range, both and a ratio": {
			`pods "x" is forbidden: ` + limits,
			`limit range: ` + limits + `; ` +
				`keep to it with --tracer-resources cpu=50m,memory=256Mi, or run it elsewhere with --tracer-namespace`,
		},
		"limit range below what runs": {
			`pods "x" is forbidden: maximum memory usage per Container is 16Mi, but limit is 256Mi`,
			`limit range: maximum memory usage per Container is 16Mi, but limit is 256Mi; ` +
				`see kubectl describe limitrange -n demo; ` +
				`a tracer takes 64Mi of memory at least: run it elsewhere with --tracer-namespace`,
		},
		"quota of memory": {
			`pods "x" is forbidden: ` + memory,
			`quota: ` + memory + `; ask for less with --tracer-resources memory=128Mi, ` +
				`see kubectl describe quota -n demo, or run it elsewhere with --tracer-namespace`,
		},
		"quota of Jobs": {
			`jobs.batch "x" is forbidden: ` + jobs,
			`quota: ` + jobs + `; ` +
				`see kubectl describe quota -n demo, or run it elsewhere with --tracer-namespace`,
		},
		"a policy that wants a label": {
			`jobs.batch "x" is forbidden: ` + policy,
			`forbidden: ` + policy + `; set what the policy wants with --tracer-labels KEY=VALUE or ` +
				`--tracer-annotations KEY=VALUE, or run it elsewhere with --tracer-namespace`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Refusal(spec(), test.message).Error(); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

func TestJob_HasGivenResourcesAndMetadata(t *testing.T) {
	s := spec()
	s.Resources = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")}
	s.Labels, s.Annotations = map[string]string{"team": "net", LabelName: "mine"}, map[string]string{"owner": "x y"}
	job := s.Job()
	c := job.Spec.Template.Spec.Containers[0]
	if c.Resources.Limits.Memory().String() != "128Mi" || c.Resources.Requests.Memory().String() != "128Mi" ||
		c.Resources.Limits.Cpu().String() != "1" {
		t.Errorf("resources %+v", c.Resources)
	}
	if env := c.Env[3]; env.Name != "GOMEMLIMIT" || env.Value != "100MiB" {
		t.Errorf("%+v", env)
	}
	template := job.Spec.Template
	if job.Labels["team"] != "net" || template.Labels["team"] != "net" || job.Labels[LabelName] != NameValue ||
		job.Annotations["owner"] != "x y" || template.Annotations["owner"] != "x y" {
		t.Errorf("%v %v, %v %v", job.Labels, job.Annotations, template.Labels, template.Annotations)
	}
}
